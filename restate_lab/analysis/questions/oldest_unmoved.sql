-- Which invocations have made no progress for the longest time?
-- row: one invocation that is not completed and not scheduled for later, the longest time without progress first
-- cost: scan (the status of every invocation, and every entry of the vqueues)
-- needs: open invocations, sys_invocation_status, sys_invocation_state
-- :service = none (text) only this service
-- :older_than = 0s (duration) only invocations without progress for at least this time
-- :limit = 100 (number) maximum number of rows
-- with: backing_off
--
-- A retry is not progress: modified_at is the time of the last change of the journal or the status.
-- Servers return scheduled_start_at only if scheduled_at is also selected.
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
  s.modified_at,
  :now - s.modified_at AS idle_for,
  s.created_at,
  s.invoked_by_id
FROM backing_off b
RIGHT JOIN (
  sys_invocation_status s
  LEFT JOIN sys_invocation_state r ON r.id = s.id) ON s.id = b.id
WHERE s.status <> 'completed'
  AND (s.status <> 'scheduled' OR (s.scheduled_at IS NOT NULL AND s.scheduled_start_at < :now))
  AND s.modified_at <= :now - :older_than
  AND (:service IS NULL OR s.target_service_name = :service)
ORDER BY s.modified_at, s.id
LIMIT :limit
