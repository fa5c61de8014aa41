-- Which invocations are in the retry storm?
-- row: one invocation that is being retried, the most attempts first
-- cost: scan (the invocations that are being retried; if any, also the status of every invocation)
-- needs: open invocations, sys_invocation_state, sys_invocation_status
-- :service = none (text) only this service
-- :handler = none (text) only this handler
-- :error_code = none (text) only this error code, such as RT0007
-- :step = none (text) only failures in this step
-- :limit = 10000 (number) maximum number of rows
--
-- message is the first line.
SELECT
  s.id,
  s.target,
  s.target_service_name,
  s.target_handler_name,
  s.target_service_key,
  CASE WHEN r.in_flight THEN 'running' ELSE 'backing-off' END AS status,
  r.retry_count,
  r.next_retry_at,
  r.last_failure_error_code AS error_code,
  r.last_failure_related_command_name AS step,
  substr(regexp_replace(split_part(r.last_failure, chr(10), 1), '^\[[0-9]+[^\]]*\] ', ''), 1, 200) AS message,
  coalesce(r.last_attempt_deployment_id, s.pinned_deployment_id) AS deployment_id,
  s.created_at,
  s.invoked_by_id
FROM sys_invocation_state r
JOIN sys_invocation_status s ON s.id = r.id
WHERE (r.retry_count > 1 OR r.next_retry_at IS NOT NULL) AND s.status = 'invoked'
  AND (:service IS NULL OR s.target_service_name = :service)
  AND (:handler IS NULL OR s.target_handler_name = :handler)
  AND (:error_code IS NULL OR r.last_failure_error_code = :error_code)
  AND (:step IS NULL OR r.last_failure_related_command_name = :step)
ORDER BY r.retry_count DESC, s.id
LIMIT :limit
