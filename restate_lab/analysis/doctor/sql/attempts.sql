-- Which invocations are retried, and why?
-- row: one invocation, most attempts first
-- cost: scan (the state of the invokers)
-- needs: sys_invocation_state
-- :limit = required (number) maximum number of rows
--
-- message is the first line of the error message. attempted_at is the start of the last attempt, which has not failed yet
-- if it is in flight.
SELECT
  id,
  retry_count,
  next_retry_at,
  last_failure_error_code AS error_code,
  last_failure_related_command_name AS step,
  substr(regexp_replace(split_part(last_failure, chr(10), 1), '^\[[0-9]+[^\]]*\] ', ''), 1, 200) AS message,
  last_attempt_deployment_id AS deployment_id,
  in_flight,
  last_start_at AS attempted_at
FROM sys_invocation_state
WHERE retry_count > 1 OR next_retry_at IS NOT NULL
ORDER BY retry_count DESC, id
LIMIT :limit
