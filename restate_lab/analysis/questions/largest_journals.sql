-- Which journals have the most entries?
-- row: one invocation, completed ones included, most entries first
-- cost: scan (the status of every invocation, and every entry of the vqueues)
-- needs: sys_invocation_status, sys_invocation_state
-- :service = none (text) only this service
-- :limit = 100 (number) maximum number of rows
-- with: backing_off
SELECT
  s.id,
  s.target,
  s.target_service_name,
  s.target_handler_name,
  s.target_service_key,
  CASE
    WHEN s.status = 'inboxed' THEN 'pending'
    WHEN s.status = 'completed' AND s.completion_result = 'success' THEN 'succeeded'
    WHEN s.status = 'completed' AND s.completion_failure ~ '^\[409( Aborted)?\] [Kk]illed$' THEN 'killed'
    WHEN s.status = 'completed' AND s.completion_failure ~ '^\[409( Aborted)?\] [Cc]ancell?ed$' THEN 'cancelled'
    WHEN s.status = 'completed' THEN 'failed'
    WHEN s.status <> 'invoked' THEN s.status
    WHEN r.in_flight THEN 'running'
    WHEN r.retry_count > 0 OR b.id IS NOT NULL THEN 'backing-off'
    ELSE 'ready' END AS status,
  s.journal_size,
  s.journal_commands_size,
  s.created_at,
  s.modified_at
FROM backing_off b
RIGHT JOIN (
  sys_invocation_status s
  LEFT JOIN sys_invocation_state r ON r.id = s.id) ON s.id = b.id
WHERE s.journal_size > 0 AND (:service IS NULL OR s.target_service_name = :service)
ORDER BY s.journal_size DESC, s.id
LIMIT :limit
