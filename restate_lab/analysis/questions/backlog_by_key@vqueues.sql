-- Which keys have the most waiting calls, and since when do they wait?
-- row: one key with waiting calls, the most waiting calls first
-- cost: scan (the vqueues; if calls wait, also their entries and the status of every invocation)
-- needs: feature vqueues, sys_vqueue_meta, sys_vqueues, sys_invocation_status
-- :service = none (text) only this service
-- :limit = 1000 (number) maximum number of rows
--
-- num_inbox of sys_vqueue_meta also counts a holder that backs off and calls scheduled for later: neither waits for
-- the key.
SELECT
  s.target_service_name,
  s.target_service_key,
  m.scope,
  count(*) AS waiting,
  min(s.inboxed_at) AS oldest_inboxed_at,
  :now - min(s.inboxed_at) AS oldest_wait,
  first_value(s.id ORDER BY s.inboxed_at, s.id) AS oldest_id
FROM sys_vqueue_meta m
JOIN sys_vqueues q ON q.id = m.id
JOIN sys_invocation_status s ON s.id = q.entry_id AND s.status <> 'completed'
WHERE m.lock_name IS NOT NULL AND m.num_inbox > 0 AND (:service IS NULL OR m.service_name = :service)
  AND q.stage = 'inbox' AND q.status <> 'scheduled' AND NOT q.has_lock
GROUP BY 1, 2, 3
ORDER BY waiting DESC, 1, 2, 3
LIMIT :limit
