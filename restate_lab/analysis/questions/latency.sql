-- How long do invocations take, per handler?
-- row: one handler, with percentiles in milliseconds, slowest first
-- cost: scan (the status of every invocation)
-- needs: sys_invocation_status
-- :service = none (text) only this service
-- :since = 24h (time) only invocations completed since this time
-- :limit = 1000 (number) maximum number of rows
--
-- From creation (or the planned start of a delayed invocation) to the end, with any result. Only invocations that are
-- still retained are counted. Percentiles are approximate, except in a history.
-- Servers return scheduled_start_at only if scheduled_at is also selected.
WITH ended AS (
  SELECT target_service_name, target_handler_name, completed_at,
    CAST(arrow_cast(completed_at, 'Int64') - arrow_cast(coalesce(
      CASE WHEN scheduled_at IS NOT NULL THEN scheduled_start_at END, created_at), 'Int64') AS DOUBLE) AS ms
  FROM sys_invocation_status
  WHERE status = 'completed' AND completed_at >= :since AND (:service IS NULL OR target_service_name = :service))
SELECT
  target_service_name,
  target_handler_name,
  count(*) AS invocations,
  -- if: visits
  percentile_cont(ms, 0.5) AS p50_ms,
  percentile_cont(ms, 0.900000000000001) AS p90_ms,
  percentile_cont(ms, 0.990000000000001) AS p99_ms,
  -- else
  approx_percentile_cont(ms, 0.5) AS p50_ms,
  approx_percentile_cont(ms, 0.9) AS p90_ms,
  approx_percentile_cont(ms, 0.99) AS p99_ms,
  -- end
  max(ms) AS max_ms,
  min(completed_at) AS first_completed_at,
  max(completed_at) AS last_completed_at
FROM ended
GROUP BY target_service_name, target_handler_name
ORDER BY p99_ms DESC, 1, 2
LIMIT :limit
