-- Which invocations are retried, and why?
-- row: one invocation, most attempts first
-- cost: scan (the state of the invokers and the entries of the vqueues; of long back-offs also the journal events)
-- needs: sys_invocation_state
-- :limit = required (number) maximum number of rows
-- with: retrying
--
-- message is the first line of the error message. attempted_at is the start of the last attempt, which has not failed
-- yet if it is in flight; of long back-offs, the time of the last recorded failure.
SELECT
  id,
  retry_count,
  next_retry_at,
  error_code,
  step,
  arrow_cast(substr(line, 1, 200), 'LargeUtf8') AS message,
  deployment_id,
  in_flight,
  attempted_at
FROM retrying
ORDER BY retry_count DESC, id
LIMIT :limit
