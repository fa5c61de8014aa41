-- Which of these invocations have an input of any size?
-- row: one invocation, in no order
-- cost: point reads
-- needs: sys_journal
-- :ids = required (ids) the invocations
SELECT id
FROM sys_journal
WHERE id IN :ids AND index = 0
