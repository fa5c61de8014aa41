-- Which calls wait for the key of a virtual object, and which invocation holds it?
-- row: one pending call; calls with a waiting caller first, then the longest wait first
-- cost: scan (the entries of vqueues with a lock; if calls wait, also the status of every invocation)
-- needs: feature vqueues, sys_vqueue_meta, sys_vqueues, sys_locks, sys_invocation_status
-- :limit = required (number) maximum number of rows
--
-- A holder that backs off is also in the inbox, and has the lock.
SELECT
  s.id,
  s.target,
  s.target_service_name || '/' || s.target_service_key AS key,
  s.inboxed_at AS since,
  s.created_at,
  s.invoked_by_id,
  l.acquired_by AS holder_id
FROM sys_vqueue_meta m
JOIN sys_vqueues q ON q.id = m.id
JOIN sys_invocation_status s ON s.id = q.entry_id
LEFT JOIN sys_locks l ON l.lock_name = m.lock_name AND l.scope IS NOT DISTINCT FROM m.scope
WHERE m.lock_name IS NOT NULL AND m.num_inbox > 0
  AND q.stage = 'inbox' AND q.status <> 'scheduled' AND NOT q.has_lock
ORDER BY s.invoked_by_id IS NULL, s.inboxed_at, s.id
LIMIT :limit
