-- Which invocations called these, directly or through others?
-- row: one of the invocations, or one of its direct or indirect callers
-- cost: heavy (the status of every invocation, once per level of callers)
-- needs: sys_invocation_status, sys_invocation_state
-- :ids = required (ids) the invocations whose callers to read
-- :depth = 20 (number) maximum number of levels of callers
-- :limit = 10000 (number) maximum number of rows
-- with: backing_off
--
-- depth is 0 for the invocations themselves. of_id is the invocation that a caller's row belongs to.
-- A caller that was created after the call is a new run with the same id and not the caller; clocks may differ by a
-- second. The few known invocations come first in the join with all their columns, so that each level of callers takes
-- one scan, and no scan if there are no callers.
WITH RECURSIVE up AS (
  SELECT id AS of_id, id, CAST(0 AS BIGINT) AS depth, target, target_service_name, target_handler_name,
    target_service_key, status, completion_result, completion_failure, created_at, modified_at, invoked_by_id, invoked_by
  FROM sys_invocation_status
  WHERE id IN :ids
  UNION ALL
  SELECT up.of_id, p.id, up.depth + 1, p.target, p.target_service_name, p.target_handler_name,
    p.target_service_key, p.status, p.completion_result, p.completion_failure, p.created_at, p.modified_at,
    p.invoked_by_id, p.invoked_by
  FROM up
  JOIN sys_invocation_status p ON p.id = up.invoked_by_id AND p.created_at <= up.created_at + INTERVAL '1 second'
  WHERE up.depth < :depth AND up.invoked_by_id IS NOT NULL)
SELECT
  up.id,
  up.of_id,
  up.depth,
  up.target,
  up.target_service_name,
  up.target_handler_name,
  up.target_service_key,
  CASE
    WHEN up.status = 'inboxed' THEN 'pending'
    WHEN up.status = 'completed' AND up.completion_result = 'success' THEN 'succeeded'
    WHEN up.status = 'completed' AND up.completion_failure ~ '^\[409( Aborted)?\] [Kk]illed$' THEN 'killed'
    WHEN up.status = 'completed' AND up.completion_failure ~ '^\[409( Aborted)?\] [Cc]ancell?ed$' THEN 'cancelled'
    WHEN up.status = 'completed' THEN 'failed'
    WHEN up.status <> 'invoked' THEN up.status
    WHEN r.in_flight THEN 'running'
    WHEN r.retry_count > 0 OR b.id IS NOT NULL THEN 'backing-off'
    ELSE 'ready' END AS status,
  up.created_at,
  up.modified_at,
  up.invoked_by_id,
  up.invoked_by
FROM up
LEFT JOIN sys_invocation_state r ON r.id = up.id
LEFT JOIN backing_off b ON b.id = up.id
ORDER BY up.of_id, up.depth, up.id
LIMIT :limit
