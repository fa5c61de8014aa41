-- Which invocations hold these keys?
-- row: one key that is held, in its scope
-- cost: point (the locks of some partitions)
-- needs: feature vqueues, sys_locks
-- :locks = required (names) service/key of each lock
-- :partitions = required (numbers) partition keys of the locks, with which the server finds them
SELECT
  lock_name AS key,
  scope,
  acquired_by AS holder_id
FROM sys_locks
WHERE partition_key IN :partitions AND lock_name IN :locks AND acquired_by IS NOT NULL
