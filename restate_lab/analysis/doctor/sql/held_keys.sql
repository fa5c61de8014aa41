-- Which keys of virtual objects are held in partitions without vqueues?
-- row: one held key with its holder, and since when it is held
-- cost: scan (the status of every invocation)
-- needs: sys_invocation_status
-- :limit = required (number) maximum number of rows
--
-- In such partitions no table has the changes of state that wait for a key. They wait only while the key is held.
-- The join begins with the held keys, because the server keeps the first table in memory.
WITH held AS (
-- if: sys_keyed_service_status
  SELECT k.service_name, k.service_key, k.invocation_id, s.running_at
  FROM sys_keyed_service_status k
  LEFT JOIN sys_invocation_status s ON s.id = k.invocation_id
  WHERE k.invocation_id IS NOT NULL
-- else
  SELECT target_service_name AS service_name, target AS service_key, id AS invocation_id, running_at
  FROM sys_invocation_status
  WHERE false
-- end
)
SELECT service_name, service_key, invocation_id, running_at
FROM held
ORDER BY service_name, service_key
LIMIT :limit
