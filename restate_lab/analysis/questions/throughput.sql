-- How many invocations are completed, and with which result?
-- row: one service in one time span, oldest first; spans without a completed invocation have no row
-- cost: scan (the status of every invocation)
-- needs: sys_invocation_status
-- :service = none (text) only this service
-- :since = 24h (time) only invocations completed since this time
-- :bin = auto (duration) length of a time span; auto is a round one: at most 61 spans from the first to the last end
-- :limit = 100000 (number) maximum number of rows
--
-- Only invocations that are still retained: the counts of earlier spans decrease as their invocations expire.
WITH ended AS (
  SELECT date_bin(:bin, s.completed_at) AS span_start, s.target_service_name,
  CASE
    WHEN s.completion_result = 'success' THEN 'succeeded'
    WHEN s.completion_failure ~ '^\[409( Aborted)?\] [Kk]illed$' THEN 'killed'
    WHEN s.completion_failure ~ '^\[409( Aborted)?\] [Cc]ancell?ed$' THEN 'cancelled'
    ELSE 'failed' END AS status
  FROM sys_invocation_status s
  WHERE s.status = 'completed' AND s.completed_at >= :since
    AND (:service IS NULL OR s.target_service_name = :service))
SELECT
  span_start,
  target_service_name,
  count(*) AS completed,
  count(*) FILTER (WHERE status = 'succeeded') AS succeeded,
  count(*) FILTER (WHERE status = 'failed') AS failed,
  count(*) FILTER (WHERE status = 'cancelled') AS cancelled,
  count(*) FILTER (WHERE status = 'killed') AS killed
FROM ended
GROUP BY span_start, target_service_name
ORDER BY span_start, target_service_name
LIMIT :limit
