-- Is Restate slow, or is my service slow?
-- row: one handler, with the time before it ran and the time after that, in milliseconds; the longest wait first
-- cost: scan (the status of every invocation)
-- needs: sys_invocation_status
-- :service = none (text) only this service
-- :since = 24h (time) only invocations completed since this time
-- :limit = 1000 (number) maximum number of rows
--
-- queued: from creation (or the planned start) to the first attempt; running: from the first attempt to the end, with
-- sleeps and waits. blocked_on_…: averages, only on servers with vqueues. Only invocations that are still retained are
-- counted.
-- Servers return scheduled_start_at only if scheduled_at is also selected.
WITH ended AS (
  SELECT s.target_service_name, s.target_handler_name,
    CAST(arrow_cast(s.running_at, 'Int64') - arrow_cast(coalesce(
      CASE WHEN s.scheduled_at IS NOT NULL THEN s.scheduled_start_at END, s.created_at), 'Int64') AS DOUBLE)
      AS queued_ms,
    CAST(arrow_cast(s.completed_at, 'Int64') - arrow_cast(s.running_at, 'Int64') AS DOUBLE) AS running_ms
  FROM sys_invocation_status s
  WHERE s.status = 'completed' AND s.running_at IS NOT NULL AND s.completed_at >= :since
    AND (:service IS NULL OR s.target_service_name = :service))
SELECT
  target_service_name,
  target_handler_name,
  count(*) AS n,
  approx_percentile_cont(queued_ms, 0.5) AS queued_p50_ms,
  approx_percentile_cont(queued_ms, 0.9) AS queued_p90_ms,
  approx_percentile_cont(queued_ms, 0.99) AS queued_p99_ms,
  approx_percentile_cont(running_ms, 0.5) AS running_p50_ms,
  approx_percentile_cont(running_ms, 0.9) AS running_p90_ms,
  approx_percentile_cont(running_ms, 0.99) AS running_p99_ms,
  CAST(NULL AS DOUBLE) AS blocked_on_lock_ms,
  CAST(NULL AS DOUBLE) AS blocked_on_concurrency_rules_ms,
  CAST(NULL AS DOUBLE) AS blocked_on_deployment_concurrency_ms,
  CAST(NULL AS DOUBLE) AS blocked_on_invoker_concurrency_ms,
  CAST(NULL AS DOUBLE) AS blocked_on_invoker_throttling_ms,
  CAST(NULL AS DOUBLE) AS blocked_on_invoker_memory_ms,
  CAST(NULL AS DOUBLE) AS blocked_on_throttling_rules_ms
FROM ended
GROUP BY target_service_name, target_handler_name
ORDER BY queued_p99_ms DESC, 1, 2
LIMIT :limit
