SELECT id, status
FROM sys_invocation
WHERE id IN :ids
