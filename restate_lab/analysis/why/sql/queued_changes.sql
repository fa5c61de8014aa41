-- Which changes of state wait for this key?
-- row: one row
-- cost: point (the vqueues of one partition)
-- needs: sys_vqueue_meta, sys_vqueues
-- :lock = required (text) service/key of the lock
-- :scope = required (text) its scope; none for keys without a scope
-- :partitions = required (numbers) partition keys, with which the server finds it
-- :before = required (time) only changes that were queued before then
SELECT count(*) AS changes, min(created_at) AS since
FROM (
  SELECT id AS vqueue_id
  FROM sys_vqueue_meta
  WHERE partition_key IN :partitions AND lock_name = :lock AND scope IS NOT DISTINCT FROM :scope) m
JOIN (
  SELECT id AS vqueue_id, created_at
  FROM sys_vqueues
  WHERE partition_key IN :partitions AND stage = 'inbox' AND entry_kind = 'state-mutation'
    AND created_at < :before) q ON q.vqueue_id = m.vqueue_id
