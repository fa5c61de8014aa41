-- Who is affected by these (their callers, upward)?
-- row: one of the invocations, or one that called it, directly or through others
-- cost: heavy (the status of every invocation, once for each step upward)
-- needs: sys_invocation_status, sys_invocation_state
-- :ids = required (ids) the invocations whose callers are wanted
-- :depth = 20 (number) this many steps upward at most
-- :limit = 10000 (number) this many rows at most
--
-- depth is 0 for the invocations themselves; of_id is the one of them that a caller's row belongs to.
WITH RECURSIVE up AS (
  SELECT id AS of_id, id, invoked_by_id, CAST(0 AS BIGINT) AS depth
  FROM sys_invocation_status
  WHERE id IN :ids
  UNION ALL
  SELECT up.of_id, p.id, p.invoked_by_id, up.depth + 1
  FROM sys_invocation_status p
  JOIN up ON p.id = up.invoked_by_id
  WHERE up.depth < :depth)
SELECT
  up.id,
  up.of_id,
  up.depth,
  s.target,
  s.target_service_name,
  s.target_handler_name,
  s.target_service_key,
  CASE
    WHEN s.status = 'inboxed' THEN 'pending'
    WHEN s.status = 'completed' AND s.completion_result = 'success' THEN 'succeeded'
    WHEN s.status = 'completed' AND s.completion_failure ~ '^\[409( Aborted)?\] [Kk]illed$' THEN 'killed'
    WHEN s.status = 'completed' AND s.completion_failure ~ '^\[409( Aborted)?\] [Cc]ancell?ed$' THEN 'cancelled'
    WHEN s.status = 'completed' THEN 'failed'
    WHEN s.status <> 'invoked' THEN s.status
    WHEN r.in_flight THEN 'running'
    WHEN r.retry_count > 0 THEN 'backing-off'
    ELSE 'ready' END AS status,
  s.created_at,
  s.modified_at,
  s.invoked_by_id,
  s.invoked_by
FROM up
JOIN sys_invocation_status s ON s.id = up.id
LEFT JOIN sys_invocation_state r ON r.id = up.id
ORDER BY up.of_id, up.depth, up.id
LIMIT :limit
