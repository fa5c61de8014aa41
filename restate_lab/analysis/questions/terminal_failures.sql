-- Which terminal failures occurred, grouped by message?
-- row: one handler, status (failed, cancelled, killed), code and message; the most frequent first
-- cost: scan (the status of every invocation)
-- needs: sys_invocation_status
-- :service = none (text) only this service
-- :since = 24h (time) only invocations completed since this time
-- :limit = 1000 (number) maximum number of rows
--
-- message is the first line with ids and numbers as #; digits within names, and numbers of three digits that have at
-- most five values at their place, are kept, because most of them are codes. ask merges the rows that this makes equal.
-- Only invocations that are still retained: those that were purged, or killed before they started, have no row.
WITH ended AS (
  SELECT s.id, s.target_service_name, s.target_handler_name, s.completed_at,
  CASE
    WHEN s.completion_result = 'success' THEN 'succeeded'
    WHEN s.completion_failure ~ '^\[409( Aborted)?\] [Kk]illed$' THEN 'killed'
    WHEN s.completion_failure ~ '^\[409( Aborted)?\] [Cc]ancell?ed$' THEN 'cancelled'
    ELSE 'failed' END AS status,
    regexp_replace(split_part(s.completion_failure, chr(10), 1), '^\[([0-9]+)[^\]]*\].*$', '\1') AS code,
    regexp_replace(split_part(s.completion_failure, chr(10), 1), '^\[[0-9]+[^\]]*\] ', '') AS line
  FROM sys_invocation_status s
  WHERE s.status = 'completed' AND s.completion_result = 'failure' AND s.completed_at >= :since
    AND (:service IS NULL OR s.target_service_name = :service)),
messages AS (
  SELECT *, substr(regexp_replace(line,
    '\b(inv|dp|sign|prom)_1[0-9A-Za-z]{20,}|\b[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}|[0-9a-fA-F]{8,}'
      || '|\b[0-9]+\.[0-9.]+|\b[0-9]{4,}\b|\b[0-9]{1,2}\b', '#', 'g'), 1, 200) AS message
  FROM ended)
SELECT
  target_service_name,
  target_handler_name,
  status,
  code,
  message,
  count(*) AS invocations,
  min(completed_at) AS first_at,
  max(completed_at) AS last_at,
  last_value(id ORDER BY completed_at, id) AS example_id,
  last_value(line ORDER BY completed_at, id) AS example_message
FROM messages
GROUP BY target_service_name, target_handler_name, status, code, message
ORDER BY invocations DESC, last_at DESC, 1, 2, 3, 4, 5
LIMIT :limit
