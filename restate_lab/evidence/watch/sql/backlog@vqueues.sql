-- How many calls wait for each key?
-- row: one key with waiting calls, the most waiting calls first
-- cost: scan (the entries of vqueues with a lock)
-- needs: feature vqueues, sys_vqueue_meta, sys_vqueues
-- :service = none (text) only this service
-- :limit = required (number) maximum number of rows
--
-- The name of a lock is service/key. num_inbox also counts a holder that backs off and calls scheduled for later:
-- neither waits for the key.
SELECT
  m.service_name AS target_service_name,
  substr(m.lock_name, length(m.service_name) + 2) AS target_service_key,
  m.scope,
  count(*) AS n
FROM sys_vqueue_meta m
JOIN sys_vqueues q ON q.id = m.id
WHERE m.lock_name IS NOT NULL AND m.num_inbox > 0 AND (:service IS NULL OR m.service_name = :service)
  AND q.stage = 'inbox' AND q.status <> 'scheduled' AND NOT q.has_lock
GROUP BY 1, 2, 3
ORDER BY n DESC, 1, 2, 3
LIMIT :limit
