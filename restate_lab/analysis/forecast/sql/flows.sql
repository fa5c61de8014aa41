-- How many calls began, and how many ended, in each of the last minutes?
-- row: one service and minute, split by some keys and scopes; minute 0 is the last one
-- cost: scan (the status of every invocation)
-- needs: sys_invocation_status
-- :service = none (text) only this service
-- :keys = required (ids) the keys with rows of their own
-- :scopes = required (ids) the scopes with rows of their own
-- :since = required (time) the first minute
-- :now_ms = required (number) the time that minutes are counted back from, in milliseconds
--
-- A delayed call begins at its time and not at its creation. Servers return scheduled_start_at only if scheduled_at is
-- also selected. The calls are counted by both minutes in one scan.
WITH calls AS (
  SELECT target_service_name AS service, scheduled_at,
    CASE WHEN scheduled_at IS NOT NULL THEN scheduled_start_at ELSE created_at END AS at,
    CASE WHEN status = 'completed' THEN completed_at END AS ended_at,
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
  WHERE :service IS NULL OR target_service_name = :service),
pairs AS (
  SELECT service, key, scope, limit_key, scheduled_at IS NOT NULL AS is_delayed,
    CASE WHEN at > :since AND arrow_cast(at, 'Int64') <= :now_ms
      THEN (:now_ms - arrow_cast(at, 'Int64')) / 60000 END AS began,
    CASE WHEN ended_at > :since AND arrow_cast(ended_at, 'Int64') <= :now_ms
      THEN (:now_ms - arrow_cast(ended_at, 'Int64')) / 60000 END AS ended,
    count(*) AS calls
  FROM calls
  WHERE at > :since OR ended_at > :since
  GROUP BY 1, 2, 3, 4, 5, 6, 7),
flows AS (
  SELECT service, key, scope, limit_key, is_delayed, is_end, calls, CASE WHEN is_end THEN ended ELSE began END AS minute
  FROM pairs
  CROSS JOIN (SELECT false AS is_end UNION ALL SELECT true AS is_end) AS both_ends)
SELECT
  service,
  key,
  scope,
  limit_key,
  minute,
  sum(CASE WHEN is_end THEN 0 ELSE calls END) AS arrivals,
  sum(CASE WHEN is_delayed AND NOT is_end THEN calls ELSE 0 END) AS delayed_arrivals,
  sum(CASE WHEN is_end THEN calls ELSE 0 END) AS ends
FROM flows
WHERE minute IS NOT NULL
GROUP BY 1, 2, 3, 4, 5
ORDER BY 1, 2, 3, 4, 5
