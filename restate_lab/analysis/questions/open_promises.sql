-- Which promises of workflows are not completed?
-- row: one promise that is awaited and has no value yet, with the oldest open invocation of its workflow
-- cost: scan (the promises; if one is open, also the status of every invocation)
-- needs: open invocations, sys_promise, sys_invocation_status
-- :service = none (text) only this service
-- :limit = 10000 (number) maximum number of rows
--
-- The oldest open invocation is usually the workflow's run, but it can be an earlier call of another handler. If there
-- is none, the workflow has ended or was never started.
SELECT
  p.service_name,
  p.service_key,
  p.scope,
  p.key AS promise,
  s.invocations AS open_invocations,
  s.oldest_id AS id,
  s.oldest_target AS target,
  s.oldest_status AS raw_status,
  s.oldest_created_at AS created_at,
  s.modified_at,
  :now - s.modified_at AS idle_for
FROM (
  SELECT service_name, service_key, key, completed,
    -- if: sys_promise.scope
    scope
    -- else
    CAST(NULL AS VARCHAR) AS scope
    -- end
  FROM sys_promise) p
LEFT JOIN (
  SELECT target_service_name, target_service_key,
    -- if: sys_invocation_status.scope
    scope,
    -- else
    CAST(NULL AS VARCHAR) AS scope,
    -- end
    count(*) AS invocations,
    first_value(id ORDER BY created_at, id) AS oldest_id, first_value(target ORDER BY created_at, id) AS oldest_target,
    first_value(status ORDER BY created_at, id) AS oldest_status, min(created_at) AS oldest_created_at,
    max(modified_at) AS modified_at
  FROM sys_invocation_status
  WHERE status <> 'completed' AND target_service_ty = 'workflow'
  GROUP BY 1, 2, 3) s
  ON s.target_service_name = p.service_name AND s.target_service_key = p.service_key
  AND s.scope IS NOT DISTINCT FROM p.scope
WHERE NOT p.completed AND (:service IS NULL OR p.service_name = :service)
ORDER BY s.modified_at, p.service_name, p.service_key, p.key
LIMIT :limit
