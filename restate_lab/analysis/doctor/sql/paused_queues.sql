-- Which vqueues are paused and have calls?
-- row: one vqueue, in no order
-- cost: scan (the vqueues)
-- needs: feature vqueues, sys_vqueue_meta
-- :limit = required (number) maximum number of rows
SELECT id AS vqueue_id
FROM sys_vqueue_meta
WHERE queue_is_paused AND num_inbox > 0
LIMIT :limit
