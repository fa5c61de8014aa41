-- Which commands of suspended invocations can be waited for?
-- row: one journal entry, in no order
-- cost: scan (every journal entry, and the status of every invocation)
-- needs: sys_journal, sys_invocation_status
-- :limit = required (number) this many rows at most
--
-- It has the columns of commands.sql, and costs less than that one where most journals belong to suspended invocations.
SELECT id, index AS entry_index, entry_type, name, entry_lite_json AS body
FROM sys_journal
WHERE id IN (SELECT id FROM sys_invocation_status WHERE status = 'suspended')
  AND entry_type IN ('Command: Call', 'Command: AttachInvocation', 'Command: GetInvocationOutput', 'Command: GetPromise',
  'Command: PeekPromise', 'Command: CompletePromise', 'Command: Sleep', 'Command: Run', 'Command: GetLazyState',
  'Command: GetLazyStateKeys')
LIMIT :limit
