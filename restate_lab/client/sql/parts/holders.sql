-- The invocations that hold the keys of virtual objects, one row per held key. Older partitions list them by service
-- and key, newer ones as locks; a lock can also be held by a change of state, which is not an invocation.
-- if: sys_keyed_service_status
SELECT invocation_id AS holder_id, service_name || '/' || service_key AS key, CAST(NULL AS VARCHAR) AS scope
FROM sys_keyed_service_status
WHERE invocation_id IS NOT NULL
-- if: sys_locks
SELECT acquired_by AS holder_id, lock_name AS key, scope
FROM sys_locks
WHERE acquired_by LIKE 'inv%'
-- end
