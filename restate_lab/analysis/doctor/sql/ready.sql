-- Which invocations are ready but do not run?
-- row: one invocation that waits for a slot of its invoker, longest first
-- cost: scan (the status of every invocation, and every entry of the vqueues)
-- needs: sys_invocation_status, sys_invocation_state
-- :limit = required (number) maximum number of rows
--
-- with: entries
-- Only the vqueues have long back-offs, and their attempts before and after the invoker has them.
SELECT s.id, s.target_service_name, s.target_handler_name, s.status, s.modified_at
FROM sys_invocation_status s
LEFT JOIN (SELECT id FROM sys_invocation_state WHERE in_flight OR retry_count > 0) r ON r.id = s.id
LEFT JOIN (
  SELECT id FROM entries
  WHERE status = 'backing-off' OR (stage = 'running' AND retry_attempts > 1)) q ON q.id = s.id
WHERE s.status = 'invoked' AND r.id IS NULL AND q.id IS NULL
ORDER BY s.modified_at, s.id
LIMIT :limit
