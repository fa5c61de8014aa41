-- Is Restate slow, or is my service slow?
-- row: one handler, with the time before it ran and the time after that, in milliseconds; the longest wait first
-- cost: heavy (the status of every invocation and every entry of the vqueues)
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
    CAST(arrow_cast(s.completed_at, 'Int64') - arrow_cast(s.running_at, 'Int64') AS DOUBLE) AS running_ms,
    q.lock, q.concurrency_rules, q.deployment_concurrency, q.invoker_concurrency,
    q.invoker_throttling, q.invoker_memory, q.throttling_rules
  FROM sys_invocation_status s
  LEFT JOIN (
    -- if: sys_vqueue_entry_status
    SELECT entry_id AS id,
      arrow_cast(total_blocked_on_lock, 'Int64') AS lock,
      arrow_cast(total_blocked_on_concurrency_rules, 'Int64') AS concurrency_rules,
      arrow_cast(total_blocked_on_deployment_concurrency, 'Int64') AS deployment_concurrency,
      arrow_cast(total_blocked_on_invoker_concurrency, 'Int64') AS invoker_concurrency,
      arrow_cast(total_blocked_on_invoker_throttling, 'Int64') AS invoker_throttling,
      arrow_cast(total_blocked_on_invoker_memory, 'Int64') AS invoker_memory,
      arrow_cast(total_blocked_on_throttling_rules, 'Int64') AS throttling_rules
    FROM sys_vqueue_entry_status
    -- else
    SELECT id,
      CAST(NULL AS BIGINT) AS lock,
      CAST(NULL AS BIGINT) AS concurrency_rules,
      CAST(NULL AS BIGINT) AS deployment_concurrency,
      CAST(NULL AS BIGINT) AS invoker_concurrency,
      CAST(NULL AS BIGINT) AS invoker_throttling,
      CAST(NULL AS BIGINT) AS invoker_memory,
      CAST(NULL AS BIGINT) AS throttling_rules
    FROM sys_invocation_status WHERE false
    -- end
  ) q ON q.id = s.id
  WHERE s.status = 'completed' AND s.running_at IS NOT NULL AND s.completed_at >= :since
    AND (:service IS NULL OR s.target_service_name = :service))
SELECT
  target_service_name,
  target_handler_name,
  count(*) AS invocations,
  -- if: visits
  percentile_cont(queued_ms, 0.5) AS queued_p50_ms,
  percentile_cont(queued_ms, 0.900000000000001) AS queued_p90_ms,
  percentile_cont(queued_ms, 0.990000000000001) AS queued_p99_ms,
  percentile_cont(running_ms, 0.5) AS running_p50_ms,
  percentile_cont(running_ms, 0.900000000000001) AS running_p90_ms,
  percentile_cont(running_ms, 0.990000000000001) AS running_p99_ms,
  -- else
  approx_percentile_cont(queued_ms, 0.5) AS queued_p50_ms,
  approx_percentile_cont(queued_ms, 0.9) AS queued_p90_ms,
  approx_percentile_cont(queued_ms, 0.99) AS queued_p99_ms,
  approx_percentile_cont(running_ms, 0.5) AS running_p50_ms,
  approx_percentile_cont(running_ms, 0.9) AS running_p90_ms,
  approx_percentile_cont(running_ms, 0.99) AS running_p99_ms,
  -- end
  avg(lock) AS blocked_on_lock_ms,
  avg(concurrency_rules) AS blocked_on_concurrency_rules_ms,
  avg(deployment_concurrency) AS blocked_on_deployment_concurrency_ms,
  avg(invoker_concurrency) AS blocked_on_invoker_concurrency_ms,
  avg(invoker_throttling) AS blocked_on_invoker_throttling_ms,
  avg(invoker_memory) AS blocked_on_invoker_memory_ms,
  avg(throttling_rules) AS blocked_on_throttling_rules_ms
FROM ended
GROUP BY target_service_name, target_handler_name
ORDER BY queued_p99_ms DESC, 1, 2
LIMIT :limit
