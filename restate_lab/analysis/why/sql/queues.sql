-- Which calls wait for these keys?
-- row: one pending call, in the order of the queue; waiting is the length of its queue
-- cost: point (the inbox of these keys; the vqueues of some partitions)
-- needs: sys_invocation_status
-- :services = required (names) virtual objects
-- :keys = required (names) keys; each is searched in each of the objects
-- :locks = required (names) service/key of each lock
-- :partitions = required (numbers) partition keys of the locks, with which the server finds them
-- :limit = required (number) maximum number of rows
--
-- A key can have several vqueues (one per limit key). A holder that backs off is also in the inbox, and has the lock.
WITH queues AS (
  -- if: sys_inbox
  SELECT service_name || '/' || service_key AS key, CAST(NULL AS VARCHAR) AS scope, id, sequence_number
  FROM sys_inbox
  WHERE service_key IN :keys AND service_name IN :services
  -- if: sys_vqueue_meta, sys_vqueues
  SELECT m.lock_name AS key, m.scope, q.id, q.sequence_number
  FROM (
    SELECT id AS vqueue_id, lock_name, scope
    FROM sys_vqueue_meta
    WHERE partition_key IN :partitions AND lock_name IN :locks) m
  JOIN (
    SELECT id AS vqueue_id, entry_id AS id, sequence_number
    FROM sys_vqueues
    WHERE partition_key IN :partitions AND stage = 'inbox' AND status <> 'scheduled' AND NOT has_lock
      AND entry_kind = 'invocation') q ON q.vqueue_id = m.vqueue_id
  -- end
)
SELECT
  key,
  scope,
  id,
  sequence_number,
  count(*) OVER (PARTITION BY key, scope) AS waiting
FROM queues
ORDER BY sequence_number, id
LIMIT :limit
