-- The calls that wait for the key of a virtual object, one row per call.
-- num_inbox also counts a holder that backs off and calls scheduled for later: neither waits for the key. A key can
-- have several vqueues (one per limit key) and one lock.
-- if: sys_inbox
SELECT id, service_name, service_name || '/' || service_key AS key, CAST(NULL AS VARCHAR) AS scope
FROM sys_inbox
-- if: sys_vqueue_meta, sys_vqueues
SELECT q.entry_id AS id, m.service_name, m.lock_name AS key, m.scope
FROM sys_vqueue_meta m
JOIN sys_vqueues q ON q.id = m.id
WHERE m.lock_name IS NOT NULL AND m.num_inbox > 0
  AND q.stage = 'inbox' AND q.status <> 'scheduled' AND NOT q.has_lock AND q.entry_kind = 'invocation'
-- end
