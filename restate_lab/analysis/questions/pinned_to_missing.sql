-- Which invocations are pinned to a deployment that is gone?
-- row: one invocation that is not completed and whose deployment is no longer registered, oldest first
-- cost: scan (the status of every invocation, and every entry of the vqueues)
-- needs: open invocations, the present
-- needs: sys_invocation_status, sys_invocation_state, sys_deployment
-- :service = none (text) only this service
-- :limit = 10000 (number) maximum number of rows
-- with: backing_off
SELECT
  s.id,
  s.target,
  s.target_service_name,
  s.target_handler_name,
  s.target_service_key,
  CASE
    WHEN s.status = 'inboxed' THEN 'pending'
    WHEN s.status <> 'invoked' THEN s.status
    WHEN r.in_flight THEN 'running'
    WHEN r.retry_count > 0 OR b.id IS NOT NULL THEN 'backing-off'
    ELSE 'ready' END AS status,
  s.pinned_deployment_id,
  s.created_at,
  s.modified_at,
  s.invoked_by_id
FROM backing_off b
RIGHT JOIN (
  sys_invocation_status s
  LEFT JOIN sys_deployment d ON d.id = s.pinned_deployment_id
  LEFT JOIN sys_invocation_state r ON r.id = s.id) ON s.id = b.id
WHERE s.status <> 'completed' AND s.pinned_deployment_id IS NOT NULL AND d.id IS NULL
  AND (:service IS NULL OR s.target_service_name = :service)
ORDER BY s.created_at, s.id
LIMIT :limit
