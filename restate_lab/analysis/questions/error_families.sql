-- Which errors exist, since when, and has one come back?
-- row: one error of one handler; those that came back first, then those seen last
-- cost: heavy (every event of the journals, and the status of every invocation)
-- needs: sys_invocation_status, sys_journal_events
-- :service = none (text) only this service
-- :since = 90d (time) only errors since this time
-- :pause = 3 (number) an error that was absent for this number of whole days (UTC) has come back
-- :limit = 1000 (number) maximum number of rows
--
-- family is a fingerprint that stays the same: v1- and 12 digits of the sha256 of service/handler, kind, code and
-- message. A changed rule gets another prefix. kind: "failed" for the failure that ended an invocation, "retried" for a
-- failed attempt. message is the first line with ids and all numbers as #. Each invocation counts once per error and
-- day, because servers can record equal errors once. Cancelled and killed invocations are excluded.
-- trend compares the last 7 days (invocations_7d) with the 7 days before (invocations_before): "new" (first seen in the
-- last 7 days), "gone" (not in the last 7 days), "more" (twice as many, or more), "fewer" (half as many, or fewer) or
-- "steady". The traffic is not considered.
-- longest_pause is in whole days. came_back_at is the end of the last pause of :pause days or more.
WITH failures AS (
  SELECT id, target_service_name, target_handler_name, 'failed' AS kind, completed_at AS at,
    regexp_replace(split_part(completion_failure, chr(10), 1), '^\[([0-9]+)[^\]]*\].*$', '\1') AS code,
    regexp_replace(split_part(completion_failure, chr(10), 1), '^\[[0-9]+[^\]]*\] ', '') AS line
  FROM sys_invocation_status
  WHERE status = 'completed' AND completion_result = 'failure' AND completed_at >= :since
    AND NOT completion_failure ~ '^\[409( Aborted)?\] ([Kk]illed|[Cc]ancell?ed)$'
    AND (:service IS NULL OR target_service_name = :service)),
events AS (
  SELECT id, appended_at, json_get_str(event_json, 'restate_doc_error_code') AS code,
    split_part(json_get_str(event_json, 'error_message'), chr(10), 1) AS line
  FROM sys_journal_events
  WHERE event_type = 'TransientError' AND appended_at >= :since),
attempts AS (
  SELECT e.id, s.target_service_name, s.target_handler_name, 'retried' AS kind, e.appended_at AS at,
    coalesce(e.code, '') AS code, coalesce(e.line, '') AS line
  FROM events e
  JOIN sys_invocation_status s ON s.id = e.id
  WHERE :service IS NULL OR s.target_service_name = :service),
errors AS (
  SELECT * FROM failures
  UNION ALL
  SELECT * FROM attempts),
messages AS (
  SELECT *, substr(regexp_replace(line,
    '\b(inv|dp|sign|prom)_1[0-9A-Za-z]{20,}|\b[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}|[0-9a-fA-F]{8,}|[0-9]+', '#', 'g'),
    1, 200) AS message
  FROM errors),
by_day AS (
  SELECT target_service_name, target_handler_name, kind, code, message, date_bin(INTERVAL '1 day', at) AS day,
    count(DISTINCT id) AS invocations,
    count(DISTINCT CASE WHEN at > :now - INTERVAL '7 days' THEN id END) AS recent,
    count(DISTINCT CASE WHEN at <= :now - INTERVAL '7 days' AND at > :now - INTERVAL '14 days' THEN id END) AS earlier,
    min(at) AS first_at, max(at) AS last_at,
    last_value(id ORDER BY at, id) AS example_id, last_value(line ORDER BY at, id) AS example_message
  FROM messages
  GROUP BY target_service_name, target_handler_name, kind, code, message, date_bin(INTERVAL '1 day', at)),
numbered AS (
  SELECT *, CAST(date_part('epoch', day) / 86400.0 AS BIGINT) AS day_number
  FROM by_day),
pauses AS (
  SELECT *, day_number - 1 - lag(day_number) OVER (
    PARTITION BY target_service_name, target_handler_name, kind, code, message ORDER BY day_number) AS pause
  FROM numbered),
families AS (
  SELECT target_service_name, target_handler_name, kind, code, message,
    sum(invocations) AS invocations, count(*) AS days, min(first_at) AS first_at, max(last_at) AS last_at,
    coalesce(max(pause), 0) AS longest_pause, max(CASE WHEN pause >= :pause THEN first_at END) AS came_back_at,
    sum(recent) AS invocations_7d, sum(earlier) AS invocations_before,
    last_value(example_id ORDER BY day) AS example_id, last_value(example_message ORDER BY day) AS example_message
  FROM pauses
  GROUP BY target_service_name, target_handler_name, kind, code, message)
SELECT
  'v1-' || substr(encode(sha256(concat(target_service_name, '/', target_handler_name, chr(10), kind, chr(10), code,
    chr(10), message)), 'hex'), 1, 12) AS family,
  target_service_name,
  target_handler_name,
  kind,
  code,
  message,
  invocations,
  days,
  first_at,
  last_at,
  came_back_at IS NOT NULL AS came_back,
  came_back_at,
  longest_pause,
  CASE
    WHEN first_at > :now - INTERVAL '7 days' THEN 'new'
    WHEN invocations_7d = 0 THEN 'gone'
    WHEN invocations_7d >= 2 * invocations_before THEN 'more'
    WHEN 2 * invocations_7d <= invocations_before THEN 'fewer'
    ELSE 'steady' END AS trend,
  invocations_7d,
  invocations_before,
  example_id,
  example_message
FROM families
ORDER BY came_back DESC, last_at DESC, invocations DESC, family
LIMIT :limit
