-- How much of the error budget is used, and how fast?
-- row: one service, the fastest burn of the last day first
-- cost: scan (the status of every invocation)
-- needs: sys_invocation_status
-- :objective = 99.9 (percent) percentage of invocations that must succeed
-- :window = 30d (duration) time for which the objective applies, up to now
-- :service = none (text) only this service
-- :limit = 1000 (number) maximum number of rows
--
-- Invocations count at their end. Cancelled and killed ones were stopped on purpose and do not count; `stopped` has
-- their number. The budget is the number of failures that the objective allows for the invocations in the window.
-- A burn rate of 1 uses exactly the whole budget in one window; at 10, the budget lasts for a tenth of it. A burn rate
-- is null if no invocation ended in its time. first_completed_at tells whether the source has the whole window.
WITH ended AS (
  SELECT s.target_service_name, s.completed_at,
  CASE
    WHEN s.completion_result = 'success' THEN 'succeeded'
    WHEN s.completion_failure ~ '^\[409( Aborted)?\] ([Kk]illed|[Cc]ancell?ed)$' THEN 'stopped'
    ELSE 'failed' END AS status
  FROM sys_invocation_status s
  WHERE s.status = 'completed' AND s.completed_at >= :now - :window AND s.completed_at <= :now
    AND (:service IS NULL OR s.target_service_name = :service)),
counts AS (
  SELECT target_service_name,
    count(*) FILTER (WHERE status <> 'stopped') AS counted,
    count(*) FILTER (WHERE status = 'failed') AS failed,
    count(*) FILTER (WHERE status = 'stopped') AS stopped,
    count(*) FILTER (WHERE status <> 'stopped' AND completed_at >= :now - INTERVAL '1 day') AS counted_1d,
    count(*) FILTER (WHERE status = 'failed' AND completed_at >= :now - INTERVAL '1 day') AS failed_1d,
    count(*) FILTER (WHERE status <> 'stopped' AND completed_at >= :now - INTERVAL '1 hour') AS counted_1h,
    count(*) FILTER (WHERE status = 'failed' AND completed_at >= :now - INTERVAL '1 hour') AS failed_1h,
    min(completed_at) AS first_completed_at
  FROM ended
  GROUP BY target_service_name),
shares AS (
  SELECT *, 1.0 - CAST(:objective AS DOUBLE) / 100.0 AS allowed
  FROM counts)
SELECT
  target_service_name,
  counted AS invocations,
  failed,
  stopped,
  100.0 * (counted - failed) / nullif(counted, 0) AS success_percent,
  allowed * counted AS budget,
  100.0 * (1.0 - failed / nullif(allowed * counted, 0)) AS budget_left_percent,
  failed / nullif(allowed * counted, 0) AS burn_rate,
  failed_1d / nullif(allowed * counted_1d, 0) AS burn_rate_1d,
  failed_1h / nullif(allowed * counted_1h, 0) AS burn_rate_1h,
  first_completed_at
FROM shares
ORDER BY burn_rate_1d DESC NULLS LAST, burn_rate DESC NULLS LAST, target_service_name
LIMIT :limit
