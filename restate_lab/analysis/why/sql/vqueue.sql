-- What blocks the head of this vqueue, and since when is one of its entries ready?
-- row: the vqueue
-- cost: point (one vqueue)
-- needs: sys_vqueue_meta, sys_scheduler, sys_vqueues
-- :vqueue = required (text) its id
-- :id = required (id) the invocation
--
-- A paused vqueue is not in sys_scheduler. The order of a queue is unknown here, so last_start_at shows whether it moves.
SELECT
  m.id,
  m.queue_is_paused AS is_paused,
  m.lock_name,
  m.limit_key,
  m.last_start_at,
  c.status,
  c.blocked_on,
  e.since
FROM (SELECT * FROM sys_vqueue_meta WHERE id = :vqueue) m
LEFT JOIN (SELECT * FROM sys_scheduler WHERE id = :vqueue) c ON c.id = m.id
LEFT JOIN (
  SELECT id, greatest(run_at, transitioned_at) AS since
  FROM sys_vqueues
  WHERE id = :vqueue AND entry_id = :id AND stage = 'inbox' AND status <> 'scheduled') e ON e.id = m.id
