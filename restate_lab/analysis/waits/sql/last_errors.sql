-- What is the last error of each of these invocations?
-- row: one invocation with a failed attempt, with its latest error
-- cost: point (the events of these invocations)
-- needs: sys_journal_events
-- :ids = required (ids) the invocations
SELECT
  id,
  json_get_str(error_json, 'restate_doc_error_code') AS code,
  json_get_str(error_json, 'error_message') AS message,
  json_get_str(error_json, 'related_command_name') AS step
FROM (
  SELECT id, CASE WHEN event_type = 'Paused' THEN json_get_json(event_json, 'last_failure') ELSE event_json END
    AS error_json, row_number() OVER (PARTITION BY id ORDER BY appended_at DESC) AS age
  FROM sys_journal_events
  WHERE id IN :ids AND event_type IN ('TransientError', 'Paused'))
WHERE age = 1
