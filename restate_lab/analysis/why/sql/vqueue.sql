-- What blocks the head of this vqueue?
-- row: the vqueue
-- cost: point (one vqueue)
-- needs: sys_vqueue_meta, sys_scheduler
-- :vqueue = required (text) its id
--
-- A paused vqueue is not in sys_scheduler.
SELECT
  m.id,
  m.queue_is_paused AS is_paused,
  m.lock_name,
  m.limit_key,
  c.status,
  c.blocked_on
FROM (SELECT * FROM sys_vqueue_meta WHERE id = :vqueue) m
LEFT JOIN (SELECT * FROM sys_scheduler WHERE id = :vqueue) c ON c.id = m.id
