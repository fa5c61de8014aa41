-- In which vqueues do changes of state wait?
-- row: one vqueue, the longest wait first
-- cost: scan (the entries of the vqueues)
-- needs: feature vqueues, sys_vqueues
-- :before = required (time) only changes that were queued before then
-- :limit = required (number) maximum number of rows
SELECT id AS vqueue_id, count(*) AS changes, min(created_at) AS first_created_at
FROM sys_vqueues
WHERE entry_kind = 'state-mutation' AND stage = 'inbox' AND created_at < :before
GROUP BY id
ORDER BY first_created_at, id
LIMIT :limit
