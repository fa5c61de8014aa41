-- How many calls are open that began before a time, and how many began after it?
-- row: one service, split by some keys and scopes
-- cost: scan (the status of every invocation)
-- needs: sys_invocation_status
-- :service = none (text) only this service
-- :keys = required (ids) the keys with rows of their own
-- :scopes = required (ids) the scopes with rows of their own
-- :since = required (time) the time
-- :until = required (time) the end of the later ones
--
-- A delayed call begins at its time and not at its creation.
WITH calls AS (
  SELECT target_service_name AS service, scheduled_at,
    CASE WHEN scheduled_at IS NOT NULL THEN scheduled_start_at ELSE created_at END AS at,
    -- if: sys_invocation_status.scope
    CASE WHEN scope IS NULL AND target_service_key IN :keys THEN target_service_key END AS key,
    CASE WHEN scope IN :scopes THEN scope END AS scope,
    CASE WHEN scope IN :scopes THEN limit_key END AS limit_key
    -- else
    CASE WHEN target_service_key IN :keys THEN target_service_key END AS key,
    CAST(NULL AS VARCHAR) AS scope,
    CAST(NULL AS VARCHAR) AS limit_key
    -- end
  FROM sys_invocation_status
  WHERE status <> 'completed' AND (:service IS NULL OR target_service_name = :service))
SELECT
  service,
  key,
  scope,
  limit_key,
  count(*) FILTER (WHERE at <= :since) AS open,
  count(*) FILTER (WHERE at > :since AND at <= :until) AS arrivals
FROM calls
GROUP BY 1, 2, 3, 4
ORDER BY 1, 2, 3, 4
