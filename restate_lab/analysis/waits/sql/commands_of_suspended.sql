-- Which commands of suspended invocations can an invocation wait for?
-- row: one journal entry, in no order
-- cost: scan (every journal entry, and the status of every invocation)
-- needs: sys_journal, sys_invocation_status
-- :limit = required (number) maximum number of rows
--
-- It has the columns of commands.sql, and costs less if most journals belong to suspended invocations.
SELECT id, index AS entry_index, entry_type, name, entry_lite_json AS body
FROM sys_journal
WHERE id IN (SELECT id FROM sys_invocation_status WHERE status = 'suspended')
  AND entry_type IN ('Command: Call', 'Command: AttachInvocation', 'Command: GetInvocationOutput', 'Command: GetPromise',
  'Command: PeekPromise', 'Command: CompletePromise', 'Command: Sleep', 'Command: Run', 'Command: GetLazyState',
  'Command: GetLazyStateKeys')
LIMIT :limit
