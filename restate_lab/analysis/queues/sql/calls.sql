-- The open calls of one queue: first those that have begun, then those that wait, in order.
SELECT q.entry_id AS id
FROM sys_vqueues q
JOIN sys_vqueue_meta m ON m.id = q.id
WHERE q.stage IN ('inbox', 'running', 'suspended', 'paused') AND q.entry_kind = 'invocation'
  AND m.service_name = :service
  AND (m.scope IS NOT DISTINCT FROM CAST(:scope AS VARCHAR))
  AND (m.limit_key IS NOT DISTINCT FROM CAST(:limit_key AS VARCHAR))
  AND (m.lock_name IS NOT DISTINCT FROM CAST(:lock_name AS VARCHAR))
ORDER BY q.stage = 'inbox', q.run_at, q.sequence_number
LIMIT :limit
