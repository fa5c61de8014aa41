-- Which open calls would be stuck if a deployment were gone?
-- row: one open invocation, the oldest first
-- cost: scan (the status of every invocation, twice, every entry of the vqueues, and the held keys)
-- needs: open invocations, sys_invocation_status, sys_invocation_state
-- :deployment = required (text) the deployment
-- :services = required (ids) the services that no other deployment has
-- :handlers = required (ids) the handlers, as "service/handler", that the next deployment of their service does not have
-- :service = none (text) only this service
-- :limit = required (number) maximum number of rows
-- with: backing_off, holders, queued
--
-- cause is "pinned", "service", "handler", or "key": it waits for a key that one of the others holds.
WITH calls AS (
  SELECT s.id, s.target, s.target_service_name, s.invoked_by_id, s.created_at,
    CASE
    WHEN s.status = 'inboxed' THEN 'pending'
    WHEN s.status <> 'invoked' THEN s.status
    WHEN r.in_flight THEN 'running'
    WHEN r.retry_count > 0 OR b.id IS NOT NULL THEN 'backing-off'
    ELSE 'ready' END AS status,
    CASE
    WHEN s.pinned_deployment_id = :deployment THEN 'pinned'
    WHEN s.pinned_deployment_id IS NOT NULL THEN NULL
    WHEN s.target_service_name IN :services THEN 'service'
    WHEN s.target_service_name || '/' || s.target_handler_name IN :handlers THEN 'handler' END AS cause
  FROM backing_off b
  RIGHT JOIN (
    sys_invocation_status s
    LEFT JOIN sys_invocation_state r ON r.id = s.id) ON s.id = b.id
  WHERE s.status <> 'completed' AND (:service IS NULL OR s.target_service_name = :service)),
behind AS (
  SELECT q.id, h.key, h.holder_id
  FROM holders h
  JOIN calls c ON c.id = h.holder_id
  JOIN queued q ON q.key = h.key AND q.scope IS NOT DISTINCT FROM h.scope
  WHERE c.cause IS NOT NULL)
SELECT c.id, c.target, c.target_service_name AS service, c.invoked_by_id, c.created_at, c.status,
  coalesce(c.cause, 'key') AS cause, w.key, w.holder_id
FROM calls c
LEFT JOIN behind w ON w.id = c.id
WHERE c.cause IS NOT NULL OR w.id IS NOT NULL
ORDER BY c.created_at, c.id
LIMIT :limit
