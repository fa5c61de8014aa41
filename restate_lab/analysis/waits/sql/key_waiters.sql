-- Which calls wait for the key of a virtual object, and which invocation holds it?
-- row: one pending call; calls with a waiting caller first, then the longest wait first
-- cost: scan (the queues; if calls wait, also the status of every invocation)
-- needs: sys_invocation_status
-- :limit = required (number) maximum number of rows
-- with: queued, holders
SELECT
  s.id,
  s.target,
  s.target_service_name || '/' || s.target_service_key AS key,
  s.inboxed_at AS since,
  s.created_at,
  s.invoked_by_id,
  k.holder_id
FROM queued q
JOIN sys_invocation_status s ON s.id = q.id
LEFT JOIN holders k ON k.key = q.key AND k.scope IS NOT DISTINCT FROM q.scope
ORDER BY s.invoked_by_id IS NULL, s.inboxed_at, s.id
LIMIT :limit
