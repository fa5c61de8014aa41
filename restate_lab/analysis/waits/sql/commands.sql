-- Which commands of these invocations can an invocation wait for?
-- row: one journal entry, in no order
-- cost: point (the journals of these invocations)
-- needs: sys_journal
-- :ids = required (ids) the invocations
-- :limit = required (number) maximum number of rows
--
-- The client parses the body: parsing it here costs the server more than reading it.
SELECT id, index AS entry_index, entry_type, name, entry_lite_json AS body
FROM sys_journal
WHERE id IN :ids AND entry_type IN ('Command: Call', 'Command: AttachInvocation', 'Command: GetInvocationOutput',
  'Command: GetPromise', 'Command: PeekPromise', 'Command: CompletePromise', 'Command: Sleep', 'Command: Run',
  'Command: GetLazyState', 'Command: GetLazyStateKeys')
LIMIT :limit
