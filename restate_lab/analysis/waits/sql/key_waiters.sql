-- Which calls wait for the key of a virtual object, and which invocation holds it?
-- row: one pending call; calls with a waiting caller first, then the longest wait first
-- cost: scan (the queues; if calls wait, also the status of every invocation)
-- needs: sys_invocation_status
-- :limit = required (number) maximum number of rows
--
-- is_known is false if the source cannot report the holder: version 1.8 does not, in a partition that is not migrated.
-- with: queued, holders
SELECT
  s.id,
  s.target,
  s.target_service_name || '/' || s.target_service_key AS key,
  s.inboxed_at AS since,
  s.created_at,
  s.invoked_by_id,
  k.holder_id,
  k.holder_id IS NOT NULL OR s.has_known_holder AS is_known
FROM queued q
JOIN (
  -- if: sys_keyed_service_status
  SELECT *, true AS has_known_holder FROM sys_invocation_status
  -- else
  SELECT *, vqueue_id IS NOT NULL AS has_known_holder FROM sys_invocation_status
  -- end
) s ON s.id = q.id
LEFT JOIN holders k ON k.key = q.key AND k.scope IS NOT DISTINCT FROM q.scope
ORDER BY s.invoked_by_id IS NULL, s.inboxed_at, s.id
LIMIT :limit
