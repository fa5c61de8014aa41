-- Which failures cause retries, by service, handler, error code, step and message?
-- row: one kind of failure that causes retries, the most invocations first
-- cost: scan (the vqueues' entries; if any is being retried, also journal events and every status)
-- needs: open invocations, the present, sys_invocation_state, sys_invocation_status
-- :service = none (text) only this service
-- :limit = 1000 (number) maximum number of rows
-- with: retrying
--
-- message is the first line with ids and numbers as #; digits within names, and numbers of three digits that have at
-- most five values at their place, are kept, because most of them are codes. ask merges the rows that this makes equal.
-- It also replaces the text of a model's refusal with "…", because it is a payload.
-- step is a name, or a pattern if several steps fail in the same way: this statement replaces ids and numbers
-- ("charge order #"); ask then replaces varying terms ("get weather …") and merges the rows of each pattern.
-- steps is the number of different names; example_step is one of the names.
WITH failing AS (
  SELECT s.target_service_name, s.target_handler_name, r.error_code, r.step, r.line, r.id, r.retry_count,
    r.next_retry_at, s.created_at
  FROM retrying r
  JOIN sys_invocation_status s ON s.id = r.id
  WHERE s.status = 'invoked' AND (:service IS NULL OR s.target_service_name = :service)),
messages AS (
  SELECT *, substr(regexp_replace(line,
    '\b(inv|dp|sign|prom)_1[0-9A-Za-z]{20,}|\b[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}|[0-9a-fA-F]{8,}'
      || '|\b[0-9]+\.[0-9.]+|\b[0-9]{4,}\b|\b[0-9]{1,2}\b', '#', 'g'), 1, 200) AS message,
    regexp_replace(regexp_replace(step, '\b(inv|dp|sign|prom)_1[0-9A-Za-z]{20,}|\b[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}',
      '#', 'g'), '(^|[^0-9A-Za-z])[0-9]+', '\1#', 'g') AS pattern
  FROM failing)
SELECT
  target_service_name,
  target_handler_name,
  error_code,
  CASE WHEN count(DISTINCT step) > 1 THEN pattern ELSE min(step) END AS step,
  message,
  count(*) AS invocations,
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
ORDER BY invocations DESC, attempts DESC, 1, 2, 3, 4, 5
LIMIT :limit
