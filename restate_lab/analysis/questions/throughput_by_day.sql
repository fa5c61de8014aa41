-- How many invocations end per day, and with which result?
-- row: one service on one day (UTC), oldest first; days without a completed invocation have no row
-- cost: scan (the status of every invocation)
-- needs: sys_invocation_status
-- :service = none (text) only this service
-- :since = 30d (time) only days since this time; the first day is whole
-- :limit = 100000 (number) maximum number of rows
--
-- failed_percent: failed ones among those that succeeded or failed; cancelled and killed ones are in neither number.
-- A server has only retained invocations, so on a live source the early days can be incomplete.
WITH ended AS (
  SELECT date_bin(INTERVAL '1 day', s.completed_at) AS day, s.target_service_name,
  CASE
    WHEN s.completion_result = 'success' THEN 'succeeded'
    WHEN s.completion_failure ~ '^\[409( Aborted)?\] [Kk]illed$' THEN 'killed'
    WHEN s.completion_failure ~ '^\[409( Aborted)?\] [Cc]ancell?ed$' THEN 'cancelled'
    ELSE 'failed' END AS status
  FROM sys_invocation_status s
  WHERE s.status = 'completed' AND s.completed_at >= date_bin(INTERVAL '1 day', :since)
    AND (:service IS NULL OR s.target_service_name = :service)),
days AS (
  SELECT day, target_service_name,
    count(*) AS completed,
    count(*) FILTER (WHERE status = 'succeeded') AS succeeded,
    count(*) FILTER (WHERE status = 'failed') AS failed,
    count(*) FILTER (WHERE status = 'cancelled') AS cancelled,
    count(*) FILTER (WHERE status = 'killed') AS killed
  FROM ended
  GROUP BY day, target_service_name)
SELECT
  day,
  target_service_name,
  completed,
  succeeded,
  failed,
  cancelled,
  killed,
  100.0 * failed / nullif(succeeded + failed, 0) AS failed_percent
FROM days
ORDER BY day, target_service_name
LIMIT :limit
