-- Which commands of these invocations can be waited for?
-- row: one journal entry, in no order
-- cost: point (the journals of these invocations)
-- needs: sys_journal
-- :ids = required (ids) the invocations
-- :limit = required (number) this many rows at most
--
-- The body is read by whoever asks: of a long journal only a few commands are still open, and taking all apart here
-- costs more than the reading.
SELECT id, index AS entry_index, entry_type, name, entry_lite_json AS body
FROM sys_journal
WHERE id IN :ids AND entry_type IN ('Command: Call', 'Command: AttachInvocation', 'Command: GetInvocationOutput',
  'Command: GetPromise', 'Command: PeekPromise', 'Command: CompletePromise', 'Command: Sleep', 'Command: Run',
  'Command: GetLazyState', 'Command: GetLazyStateKeys')
LIMIT :limit
