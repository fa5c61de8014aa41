-- Which invocations in these vqueues could start, and are not counted by the scheduler?
-- row: one invocation, the longest wait first
-- cost: scan (the entries of the vqueues)
-- needs: feature vqueues, sys_vqueues, sys_vqueue_meta, sys_scheduler, sys_locks, sys_invocation_status
-- :ids = required (ids) the vqueues
-- :before = required (time) only those that have been ready since before then
-- :limit = required (number) maximum number of rows
--
-- A busy vqueue has old entries, too: its first entry starts soon, and the others follow. So the vqueue must have
-- started nothing since then, or the entry must come before the one that the scheduler takes for the first.
WITH waiting AS (
  SELECT id AS vqueue_id, entry_id, status, run_at, sequence_number, has_lock,
    greatest(run_at, transitioned_at) AS since
  FROM sys_vqueues
  WHERE id IN :ids AND stage = 'inbox' AND entry_kind = 'invocation' AND status <> 'scheduled'),
queues AS (
  SELECT m.id, m.last_start_at, c.head_entry_id
  FROM sys_vqueue_meta m
  LEFT JOIN sys_scheduler c ON c.id = m.id
  LEFT JOIN sys_locks l ON l.lock_name = m.lock_name AND l.scope IS NOT DISTINCT FROM m.scope
  WHERE m.id IN :ids AND NOT m.queue_is_paused AND l.lock_name IS NULL
    AND coalesce(c.status, 'none') NOT IN ('blocked', 'scheduled'))
SELECT
  s.id,
  s.target_service_name,
  s.target_handler_name,
  s.status,
  w.since
FROM waiting w
JOIN queues q ON q.id = w.vqueue_id
LEFT JOIN waiting h ON h.vqueue_id = q.id AND h.entry_id = q.head_entry_id
JOIN sys_invocation_status s ON s.id = w.entry_id
WHERE w.since < :before
  AND (q.last_start_at IS NULL OR q.last_start_at < :before
    OR (NOT w.has_lock AND NOT h.has_lock AND w.run_at <= h.run_at AND w.sequence_number < h.sequence_number))
ORDER BY w.since, s.id
LIMIT :limit
