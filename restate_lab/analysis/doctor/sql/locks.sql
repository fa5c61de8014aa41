-- Which keys do these vqueues wait for, and which invocations hold these keys?
-- row: one vqueue
-- cost: scan (the vqueues and the locks)
-- needs: feature vqueues, sys_vqueue_meta, sys_locks
-- :ids = required (ids) the vqueues
SELECT
  m.id AS vqueue_id,
  m.service_name,
  m.lock_name AS key,
  min(CASE WHEN l.acquired_by LIKE 'inv%' THEN l.acquired_by END) AS holder_id
FROM sys_vqueue_meta m
LEFT JOIN sys_locks l ON l.lock_name = m.lock_name AND l.scope IS NOT DISTINCT FROM m.scope
WHERE m.id IN :ids
GROUP BY m.id, m.service_name, m.lock_name
