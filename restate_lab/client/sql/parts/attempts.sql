-- The invocations that back off, or are in their second or a later attempt, one row per invocation.
-- Short back-offs are in sys_invocation_state; only the vqueues have long ones.
-- with: entries
SELECT coalesce(e.id, r.id) AS id,
  CASE WHEN e.retry_attempts > coalesce(r.retry_count, 0) THEN e.retry_attempts ELSE r.retry_count END AS retry_count,
  coalesce(r.next_retry_at, e.next_at) AS next_retry_at,
  coalesce(e.deployment, r.last_attempt_deployment_id) AS deployment_id,
  r.last_failure, r.last_failure_error_code, r.last_failure_related_command_name, r.in_flight, r.last_start_at
FROM (
  SELECT id, retry_count, next_retry_at, last_attempt_deployment_id, last_failure, last_failure_error_code,
    last_failure_related_command_name, in_flight, last_start_at
  FROM sys_invocation_state
  WHERE retry_count > 1 OR next_retry_at IS NOT NULL OR (retry_count > 0 AND in_flight IS NOT TRUE)) r
FULL JOIN (
  SELECT id, retry_attempts, CASE WHEN stage = 'inbox' THEN next_at END AS next_at, deployment
  FROM entries
  WHERE status = 'backing-off' OR (stage = 'running' AND retry_attempts > 1)) e ON e.id = r.id
