-- Which changes of state wait in a vqueue?
-- row: one queued change of state, oldest first
-- cost: scan (the entries of the vqueues)
-- needs: sys_invocation_status
-- :limit = required (number) maximum number of rows
WITH changes AS (
-- if: sys_vqueues, sys_vqueue_meta
  SELECT v.entry_id, m.service_name, m.scope, m.lock_name AS key, v.created_at
  FROM sys_vqueues v
  JOIN sys_vqueue_meta m ON m.id = v.id
  WHERE v.entry_kind = 'state-mutation' AND v.stage IN ('inbox', 'running', 'suspended', 'paused')
-- else
  SELECT id AS entry_id, target_service_name AS service_name, CAST(NULL AS VARCHAR) AS scope, target AS key, created_at
  FROM sys_invocation_status
  WHERE false
-- end
)
SELECT entry_id, service_name, scope, key, created_at
FROM changes
ORDER BY created_at, entry_id
LIMIT :limit
