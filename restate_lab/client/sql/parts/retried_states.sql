-- The invocations in the invokers that back off, or are in their second or a later attempt, one row per invocation.
SELECT id, retry_count, next_retry_at, last_attempt_deployment_id, last_failure, last_failure_error_code,
  last_failure_related_command_name, in_flight, last_start_at
FROM sys_invocation_state
WHERE retry_count > 1 OR next_retry_at IS NOT NULL OR (retry_count > 0 AND in_flight IS NOT TRUE)
