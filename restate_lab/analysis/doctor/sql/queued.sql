-- Which invocations wait in these vqueues?
-- row: one invocation that has not started, in no order
-- cost: scan (the entries of the vqueues)
-- needs: feature vqueues, sys_vqueues
-- :ids = required (ids) the vqueues
-- :limit = required (number) maximum number of rows
--
-- The inbox also has entries that back off or are scheduled for later.
SELECT id AS vqueue_id, entry_id, stage, status
FROM sys_vqueues
WHERE id IN :ids AND stage = 'inbox' AND status NOT IN ('scheduled', 'backing-off')
LIMIT :limit
