-- How much is completed, and how does it end?
-- row: one service in one span of time, oldest first; spans in which nothing ended have no row
-- cost: scan (the status of every invocation)
-- needs: sys_invocation_status
-- :service = none (text) only this service
-- :since = 24h (time) completed since then
-- :bin = 5m (duration) how long a span is
-- :limit = 100000 (number) this many rows at most
--
-- Only what is still retained: earlier spans shrink as their invocations expire.
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
