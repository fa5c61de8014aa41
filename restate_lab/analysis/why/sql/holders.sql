-- Which invocations hold these keys?
-- row: one key that is held, in its scope
-- cost: point (the keys; the locks of some partitions)
-- needs: sys_invocation_status
-- :services = required (names) virtual objects
-- :keys = required (names) keys; each is searched in each of the objects
-- :locks = required (names) service/key of each lock
-- :partitions = required (numbers) partition keys of the locks, with which the server finds them
--
-- A lock can also be held by a change of state, which is not an invocation.
-- if: sys_keyed_service_status
SELECT
  service_name || '/' || service_key AS key,
  CAST(NULL AS VARCHAR) AS scope,
  invocation_id AS holder_id
FROM sys_keyed_service_status
WHERE service_key IN :keys AND service_name IN :services AND invocation_id IS NOT NULL
-- if: sys_locks
SELECT
  lock_name AS key,
  scope,
  acquired_by AS holder_id
FROM sys_locks
WHERE partition_key IN :partitions AND lock_name IN :locks AND acquired_by LIKE 'inv%'
-- end
