-- Which keys are hot: how many calls wait on each, and since when?
-- row: one key on which calls wait, most waiting first
-- cost: scan (the vqueues; where calls wait, their entries and the status of every invocation)
-- needs: feature vqueues, sys_vqueue_meta, sys_vqueues, sys_invocation_status
-- :service = none (text) only this service
-- :limit = 1000 (number) this many rows at most
--
-- num_inbox of sys_vqueue_meta counts a holder that backs off and calls scheduled for later, too: neither waits for
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
