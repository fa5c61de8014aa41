-- How did the duration of invocations change from day to day, per handler?
-- row: one handler on one day (UTC), with exact percentiles in milliseconds; oldest first
-- cost: scan (the status of every invocation)
-- needs: sys_invocation_status
-- :service = none (text) only this service
-- :since = 30d (time) only days since this time; the first day is whole
-- :limit = 100000 (number) maximum number of rows
--
-- From creation (or the planned start of a delayed invocation) to the end, with any result; an invocation counts on the
-- day of its end. Percentiles interpolate between the two nearest values, as pandas does.
-- Servers return scheduled_start_at only if scheduled_at is also selected.
WITH ended AS (
  SELECT date_bin(INTERVAL '1 day', completed_at) AS day, target_service_name, target_handler_name,
    CAST(arrow_cast(completed_at, 'Int64') - arrow_cast(coalesce(
      CASE WHEN scheduled_at IS NOT NULL THEN scheduled_start_at END, created_at), 'Int64') AS DOUBLE) AS ms
  FROM sys_invocation_status
  WHERE status = 'completed' AND completed_at >= date_bin(INTERVAL '1 day', :since)
    AND (:service IS NULL OR target_service_name = :service))
SELECT
  day,
  target_service_name,
  target_handler_name,
  count(*) AS invocations,
  percentile_cont(ms, 0.5) AS p50_ms,
  percentile_cont(ms, 0.900000000000001) AS p90_ms,
  percentile_cont(ms, 0.990000000000001) AS p99_ms,
  max(ms) AS max_ms
FROM ended
GROUP BY day, target_service_name, target_handler_name
ORDER BY day, target_service_name, target_handler_name
LIMIT :limit
