-- Which calls wait for the key of a virtual object, and which invocation holds it?
-- row: one pending call; calls with a waiting caller first, then the longest wait first
-- cost: scan (the inbox; if calls wait, also the status of every invocation)
-- needs: sys_inbox, sys_keyed_service_status, sys_invocation_status
-- :limit = required (number) maximum number of rows
SELECT
  s.id,
  s.target,
  s.target_service_name || '/' || s.target_service_key AS key,
  s.inboxed_at AS since,
  s.created_at,
  s.invoked_by_id,
  k.invocation_id AS holder_id
FROM sys_inbox i
JOIN sys_invocation_status s ON s.id = i.id
LEFT JOIN sys_keyed_service_status k ON k.service_name = i.service_name AND k.service_key = i.service_key
ORDER BY s.invoked_by_id IS NULL, s.inboxed_at, s.id
LIMIT :limit
