-- When did this error first appear, and how does it spread?
-- row: one error in one time span, with the invocations that had it for the first time in that span; oldest first
-- cost: heavy (every event of the journals, and the status of every invocation)
-- needs: sys_journal_events, sys_invocation_status
-- :service = none (text) only this service
-- :since = 24h (time) only errors since this time
-- :bin = 5m (duration) length of a time span
-- :limit = 10000 (number) maximum number of rows
--
-- Invocations are counted once per error, not once per attempt: without vqueues the server records consecutive equal
-- errors once. message is the first line with ids and numbers as #; numbers of three digits and digits within names are
-- kept, because most of them are codes.
WITH events AS (
  SELECT id, appended_at, json_get_str(event_json, 'restate_doc_error_code') AS error_code,
    json_get_str(event_json, 'related_command_name') AS step,
    split_part(json_get_str(event_json, 'error_message'), chr(10), 1) AS line
  FROM sys_journal_events
  WHERE event_type = 'TransientError'),
messages AS (
  SELECT id, appended_at, error_code, step, substr(regexp_replace(line,
    '\b(inv|dp|sign|prom)_1[0-9A-Za-z]{20,}|\b[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}|[0-9a-fA-F]{8,}'
      || '|\b[0-9]+\.[0-9.]+|\b[0-9]{4,}\b|\b[0-9]{1,2}\b', '#', 'g'), 1, 200) AS message
  FROM events),
met AS (
  SELECT t.id, s.target_service_name, s.target_handler_name, t.error_code, t.step, t.message,
    min(t.appended_at) AS first_at
  FROM messages t
  JOIN sys_invocation_status s ON s.id = t.id
  WHERE :service IS NULL OR s.target_service_name = :service
  GROUP BY t.id, s.target_service_name, s.target_handler_name, t.error_code, t.step, t.message),
spread AS (
  SELECT date_bin(:bin, first_at) AS span_start, *
  FROM met
  WHERE first_at >= :since)
SELECT
  span_start,
  target_service_name,
  target_handler_name,
  error_code,
  step,
  message,
  count(*) AS new_invocations,
  min(first_at) AS first_at,
  first_value(id ORDER BY first_at, id) AS example_id
FROM spread
GROUP BY span_start, target_service_name, target_handler_name, error_code, step, message
ORDER BY span_start, new_invocations DESC, 2, 3, 4, 5, 6
LIMIT :limit
