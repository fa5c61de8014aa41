-- Which invocations wait in these vqueues?
-- row: one that has not begun, in no order
-- cost: scan (the entries of the vqueues)
-- needs: feature vqueues, sys_vqueues
-- :ids = required (ids) the vqueues
-- :limit = required (number) this many rows at most
--
-- The inbox also has what backs off, and what is scheduled for later.
SELECT id AS vqueue_id, entry_id, stage, status
FROM sys_vqueues
WHERE id IN :ids AND stage = 'inbox' AND status NOT IN ('scheduled', 'backing-off')
LIMIT :limit
