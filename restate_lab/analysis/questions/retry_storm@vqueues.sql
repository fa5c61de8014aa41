-- Which failures cause retries, by service, handler, error code, step and message?
-- row: one kind of failure that causes retries, the most invocations first
-- cost: scan (the vqueues' entries; if any is being retried, also journal events and every status)
-- needs: open invocations
-- needs: feature vqueues, sys_invocation_state, sys_vqueue_entry_status, sys_journal_events, sys_invocation_status
-- :service = none (text) only this service
-- :limit = 1000 (number) maximum number of rows
--
-- message is the first line with ids and numbers as #; digits within names, and numbers of three digits that have at
-- most five values at their place, are kept, because most of them are codes. ask merges the rows that this makes equal.
-- It also replaces the text of a model's refusal with "…", because it is a payload.
-- step is a name, or a pattern if several steps fail in the same way: this statement replaces ids and numbers
-- ("charge order #"); ask then replaces varying terms ("get weather …") and merges the rows of each pattern.
-- steps is the number of different names; example_step is one of the names.
-- Short back-offs are in sys_invocation_state, long ones only in the vqueues; the reason of both is in the last event.
WITH retrying AS (
  SELECT coalesce(e.entry_id, r.id) AS id,
    CASE WHEN e.retry_attempts > coalesce(r.retry_count, 0) THEN e.retry_attempts ELSE r.retry_count END AS retry_count,
    coalesce(r.next_retry_at, e.next_at) AS next_retry_at
  FROM (
    SELECT id, retry_count, next_retry_at
    FROM sys_invocation_state
    WHERE retry_count > 1 OR next_retry_at IS NOT NULL) r
  FULL JOIN (
    SELECT entry_id, CAST(retry_attempts AS BIGINT UNSIGNED) AS retry_attempts,
      CASE WHEN stage = 'inbox' THEN next_at END AS next_at
    FROM sys_vqueue_entry_status
    WHERE status = 'backing-off' OR (stage = 'running' AND retry_attempts > 1)) e ON e.entry_id = r.id),
last_error AS (
  SELECT e.id, last_value(e.event_json ORDER BY e.appended_at, e.after_journal_entry_index) AS event_json
  FROM retrying r
  JOIN sys_journal_events e ON e.id = r.id
  WHERE e.event_type = 'TransientError'
  GROUP BY e.id),
read AS (
  SELECT s.target_service_name, s.target_handler_name,
    json_get_str(e.event_json, 'restate_doc_error_code') AS error_code,
    json_get_str(e.event_json, 'related_command_name') AS step,
    split_part(json_get_str(e.event_json, 'error_message'), chr(10), 1) AS line,
    f.id, f.retry_count, f.next_retry_at, s.created_at
  FROM retrying f
  LEFT JOIN last_error e ON e.id = f.id
  JOIN sys_invocation_status s ON s.id = f.id
  WHERE s.status = 'invoked' AND (:service IS NULL OR s.target_service_name = :service)),
messages AS (
  SELECT *, substr(regexp_replace(line,
    '\b(inv|dp|sign|prom)_1[0-9A-Za-z]{20,}|\b[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}|[0-9a-fA-F]{8,}'
      || '|\b[0-9]+\.[0-9.]+|\b[0-9]{4,}\b|\b[0-9]{1,2}\b', '#', 'g'), 1, 200) AS message,
    regexp_replace(regexp_replace(step, '\b(inv|dp|sign|prom)_1[0-9A-Za-z]{20,}|\b[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}',
      '#', 'g'), '(^|[^0-9A-Za-z])[0-9]+', '\1#', 'g') AS pattern
  FROM read)
SELECT
  target_service_name,
  target_handler_name,
  error_code,
  CASE WHEN count(DISTINCT step) > 1 THEN pattern ELSE min(step) END AS step,
  message,
  count(*) AS n,
  sum(retry_count) AS attempts,
  max(retry_count) AS worst,
  min(next_retry_at) AS next_retry_at,
  min(created_at) AS oldest_created_at,
  min(id) AS example_id,
  min(line) AS example_message,
  count(DISTINCT step) AS steps,
  min(step) AS example_step
FROM messages
GROUP BY target_service_name, target_handler_name, error_code, pattern, message
ORDER BY n DESC, attempts DESC, 1, 2, 3, 4, 5
LIMIT :limit
