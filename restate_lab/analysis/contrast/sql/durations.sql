-- How long did the successful invocations of a handler take?
-- row: one row
-- cost: scan (the status of every invocation)
-- needs: sys_invocation_status
-- :service = required (text) its service
-- :handler = required (text) its handler
-- :until = required (time) only those created until then
--
-- A delayed invocation starts at its planned time. Servers return scheduled_start_at only if scheduled_at is also selected.
WITH runs AS (
  SELECT created_at, completed_at, status, completion_result, target_service_name, target_handler_name,
    coalesce(CASE WHEN scheduled_at IS NOT NULL THEN scheduled_start_at END, created_at) AS start
  FROM sys_invocation_status
  WHERE status = 'completed' AND completion_result = 'success' AND target_service_name = :service
    AND target_handler_name = :handler AND created_at <= :until),
durations AS (
  SELECT CAST(arrow_cast(completed_at, 'Int64') - arrow_cast(start, 'Int64') AS DOUBLE) AS ms
  FROM runs)
SELECT
  count(*) AS n,
  -- if: visits
  percentile_cont(ms, 0.5) AS p50_ms,
  percentile_cont(ms, 0.900000000000001) AS p90_ms,
  percentile_cont(ms, 0.990000000000001) AS p99_ms
  -- else
  approx_percentile_cont(ms, 0.5) AS p50_ms,
  approx_percentile_cont(ms, 0.9) AS p90_ms,
  approx_percentile_cont(ms, 0.99) AS p99_ms
  -- end
FROM durations
