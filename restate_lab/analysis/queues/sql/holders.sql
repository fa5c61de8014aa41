-- The holders of these locks, with the time since when. A holder can be a change of state ("mut_…").
SELECT lock_name, scope, acquired_by AS holder_id, acquired_at AS since
FROM sys_locks
WHERE lock_name IN :names
