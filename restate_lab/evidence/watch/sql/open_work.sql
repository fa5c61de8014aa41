-- How many invocations are not completed, by status and pinned deployment?
-- row: one status of one deployment
-- cost: scan (the status of every invocation, and every entry of the vqueues)
-- needs: sys_invocation_status, sys_invocation_state
-- :service = none (text) only this service
-- with: backing_off
SELECT
  CASE
    WHEN s.status = 'inboxed' THEN 'pending'
    WHEN s.status <> 'invoked' THEN s.status
    WHEN r.in_flight THEN 'running'
    WHEN r.retry_count > 0 OR b.id IS NOT NULL THEN 'backing-off'
    ELSE 'ready' END AS status,
  s.pinned_deployment_id AS deployment_id,
  count(*) AS n
FROM backing_off b
RIGHT JOIN (
  sys_invocation_status s
  LEFT JOIN sys_invocation_state r ON r.id = s.id) ON s.id = b.id
WHERE s.status <> 'completed' AND (:service IS NULL OR s.target_service_name = :service)
GROUP BY 1, 2
