-- In which vqueues do entries wait although no resource is missing?
-- row: one vqueue, in no order; on a healthy cluster, one whose first entry is starting at this time
-- cost: scan (the vqueues, the scheduler and the locks)
-- needs: feature vqueues, sys_vqueue_meta, sys_scheduler, sys_locks
-- :limit = required (number) maximum number of rows
--
-- The scheduler has no row for the vqueues of a partition without a leader, or whose worker has disable-scheduler.
SELECT m.id AS vqueue_id, m.num_inbox
FROM sys_vqueue_meta m
LEFT JOIN sys_scheduler c ON c.id = m.id
LEFT JOIN sys_locks l ON l.lock_name = m.lock_name AND l.scope IS NOT DISTINCT FROM m.scope
WHERE m.num_inbox > 0 AND NOT m.queue_is_paused AND l.lock_name IS NULL
  AND coalesce(c.status, 'none') NOT IN ('blocked', 'scheduled')
LIMIT :limit
