-- When did the first attempt of this invocation start in its vqueue?
-- row: the entry of the invocation
-- cost: point (one vqueue)
-- needs: sys_vqueue_entry_status
-- :vqueue = required (text) the id of the vqueue
-- :id = required (id) the invocation
-- :partition = required (number) its partition key
--
-- It is null for an invocation that was migrated and has not run since.
SELECT first_attempt_at AS first_at
FROM sys_vqueue_entry_status
WHERE partition_key = :partition AND entry_id = :id AND vqueue_id = :vqueue
