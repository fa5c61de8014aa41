-- Which keys are blocked, by which invocation, since when, and which invocation called the holder?
-- row: one key of a virtual object with waiting calls, the most waiting calls first
-- cost: scan (the entries of vqueues with a lock; if calls wait, also the status of every invocation)
-- needs: feature vqueues, sys_vqueue_meta, sys_vqueues, sys_locks, sys_invocation_status, sys_invocation_state
-- needs: sys_vqueue_entry_status
-- :service = none (text) only keys of this service
-- :limit = 1000 (number) maximum number of rows
--
-- num_inbox of sys_vqueue_meta also counts a holder that backs off and calls scheduled for later: neither waits for
-- the key. A key can have several vqueues (one per limit key), and one lock.
WITH waiting AS (
  SELECT m.lock_name, m.scope, m.service_name, count(*) AS waiting, min(s.inboxed_at) AS waiting_since,
    min(s.target_service_key) AS service_key
  FROM sys_vqueue_meta m
  JOIN sys_vqueues q ON q.id = m.id
  JOIN sys_invocation_status s ON s.id = q.entry_id
  WHERE m.lock_name IS NOT NULL AND m.num_inbox > 0 AND (:service IS NULL OR m.service_name = :service)
    AND q.stage = 'inbox' AND q.status <> 'scheduled' AND NOT q.has_lock
  GROUP BY 1, 2, 3
  ORDER BY waiting DESC, 1, 2
  LIMIT :limit)
SELECT
  w.service_name AS target_service_name,
  w.service_key AS target_service_key,
  w.scope,
  w.waiting,
  w.waiting_since,
  h.id AS holder_id,
  h.target_handler_name AS holder_handler_name,
  CASE
    WHEN h.status = 'inboxed' THEN 'pending'
    WHEN h.status <> 'invoked' THEN h.status
    WHEN r.in_flight THEN 'running'
    WHEN r.retry_count > 0 OR q.entry_id IS NOT NULL THEN 'backing-off'
    ELSE 'ready' END AS holder_status,
  h.running_at AS holder_running_at,
  h.modified_at AS holder_modified_at,
  h.invoked_by_id AS holder_invoked_by_id,
  h.invoked_by_target AS holder_invoked_by_target
FROM waiting w
LEFT JOIN sys_locks l ON l.lock_name = w.lock_name AND l.scope IS NOT DISTINCT FROM w.scope
LEFT JOIN sys_invocation_status h ON h.id = l.acquired_by
LEFT JOIN sys_invocation_state r ON r.id = l.acquired_by
LEFT JOIN (SELECT entry_id FROM sys_vqueue_entry_status WHERE status = 'backing-off') q ON q.entry_id = l.acquired_by
ORDER BY w.waiting DESC, w.service_name, w.service_key
LIMIT :limit
