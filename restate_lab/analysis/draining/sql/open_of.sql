-- Which of these invocations have not ended?
-- row: one invocation
-- cost: ids
-- needs: sys_invocation_status
-- :ids = required (ids) the invocations
SELECT id
FROM sys_invocation_status
WHERE id IN :ids AND status <> 'completed'
