-- Which invocations were restarted as new ones?
-- row: one invocation that a restart created, the newest first
-- cost: scan (the status of every invocation, and every entry of the vqueues)
-- needs: sys_invocation_status, sys_invocation_state
-- :service = none (text) only this service
-- :limit = 10000 (number) maximum number of rows
-- with: backing_off
--
-- restarted_from is the previous invocation. Its columns are null if it has expired or if its id has a new run. Follow
-- this column to read a chain of restarts.
SELECT
  s.id,
  s.restarted_from,
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
    WHEN r.retry_count > 0 OR q.id IS NOT NULL THEN 'backing-off'
    ELSE 'ready' END AS status,
  s.created_at,
  b.completion_result AS before_completion_result,
  b.completion_failure AS before_completion_failure,
  b.created_at AS before_created_at,
  b.restarted_from AS before_restarted_from
FROM sys_invocation_status s
LEFT JOIN sys_invocation_status b ON b.id = s.restarted_from AND b.created_at <= s.created_at
LEFT JOIN sys_invocation_state r ON r.id = s.id
LEFT JOIN backing_off q ON q.id = s.id
WHERE s.restarted_from IS NOT NULL AND (:service IS NULL OR s.target_service_name = :service)
ORDER BY s.created_at DESC, s.id
LIMIT :limit
