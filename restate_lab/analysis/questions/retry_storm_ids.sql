-- Which invocations are in the retry storm?
-- row: one invocation that is being retried, the most attempts first
-- cost: scan (the vqueues' entries; if any is being retried, also journal events and every status)
-- needs: open invocations, the present, sys_invocation_state, sys_invocation_status
-- :service = none (text) only this service
-- :handler = none (text) only this handler
-- :error_code = none (text) only this error code, such as RT0007
-- :step = none (text) only failures in this step
-- :limit = 10000 (number) maximum number of rows
-- with: retrying
--
-- message is the first line.
SELECT
  s.id,
  s.target,
  s.target_service_name,
  s.target_handler_name,
  s.target_service_key,
  CASE WHEN r.next_retry_at IS NULL THEN 'running' ELSE 'backing-off' END AS status,
  r.retry_count,
  r.next_retry_at,
  r.error_code,
  r.step,
  arrow_cast(substr(r.line, 1, 200), 'LargeUtf8') AS message,
  coalesce(r.deployment_id, s.pinned_deployment_id) AS deployment_id,
  s.created_at,
  s.invoked_by_id
FROM retrying r
JOIN sys_invocation_status s ON s.id = r.id
WHERE s.status = 'invoked'
  AND (:service IS NULL OR s.target_service_name = :service)
  AND (:handler IS NULL OR s.target_handler_name = :handler)
  AND (:error_code IS NULL OR r.error_code = :error_code)
  AND (:step IS NULL OR r.step = :step)
ORDER BY r.retry_count DESC, s.id
LIMIT :limit
