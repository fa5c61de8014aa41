-- Which invocations are ready but do not run?
-- row: one invocation that waits for a slot of its invoker, longest first
-- cost: scan (the status of every invocation, and every entry of the vqueues)
-- needs: feature vqueues, sys_invocation_status, sys_invocation_state, sys_vqueue_entry_status
-- :limit = required (number) maximum number of rows
--
-- Only the vqueues have long back-offs, and their attempts before and after the invoker has them.
SELECT s.id, s.target_service_name, s.target_handler_name, s.status, s.modified_at
FROM sys_invocation_status s
LEFT JOIN (SELECT id FROM sys_invocation_state WHERE in_flight OR retry_count > 0) r ON r.id = s.id
LEFT JOIN (
  SELECT entry_id FROM sys_vqueue_entry_status
  WHERE status = 'backing-off' OR (stage = 'running' AND retry_attempts > 1)) q ON q.entry_id = s.id
WHERE s.status = 'invoked' AND r.id IS NULL AND q.entry_id IS NULL
ORDER BY s.modified_at, s.id
LIMIT :limit
