-- Which invocations have a long journal?
-- row: one invocation, completed ones included, most entries first
-- cost: scan (the status of every invocation)
-- needs: sys_invocation_status
-- :entries = required (number) minimum number of journal entries
-- :limit = required (number) maximum number of rows
SELECT id, target_service_name, target_handler_name, journal_size
FROM sys_invocation_status
WHERE journal_size >= :entries
ORDER BY journal_size DESC, id
LIMIT :limit
