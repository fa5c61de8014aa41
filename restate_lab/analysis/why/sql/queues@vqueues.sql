-- Which calls wait for these keys?
-- row: one pending call, in the order of the queue; waiting is the length of its queue
-- cost: point (the vqueues of some partitions)
-- needs: feature vqueues, sys_vqueue_meta, sys_vqueues
-- :locks = required (names) service/key of each lock
-- :partitions = required (numbers) partition keys of the locks, with which the server finds them
-- :limit = required (number) maximum number of rows
--
-- A key can have several vqueues (one per limit key). A holder that backs off is also in the inbox, and has the lock.
SELECT
  m.lock_name AS key,
  m.scope,
  q.id,
  q.sequence_number,
  count(*) OVER (PARTITION BY m.lock_name, m.scope) AS waiting
FROM (
  SELECT id AS vqueue_id, lock_name, scope
  FROM sys_vqueue_meta
  WHERE partition_key IN :partitions AND lock_name IN :locks) m
JOIN (
  SELECT id AS vqueue_id, entry_id AS id, sequence_number
  FROM sys_vqueues
  WHERE partition_key IN :partitions AND stage = 'inbox' AND status <> 'scheduled' AND NOT has_lock) q
  ON q.vqueue_id = m.vqueue_id
ORDER BY q.sequence_number, q.id
LIMIT :limit
