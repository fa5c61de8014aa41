-- Which invocations are retried, and why?
-- row: one invocation, most attempts first
-- cost: scan (the entries of the vqueues; if invocations are retried, the journal events)
-- needs: feature vqueues, sys_invocation_state, sys_vqueue_entry_status, sys_journal_events
-- :limit = required (number) maximum number of rows
--
-- message is the first line of the error message. attempted_at is the time of the last recorded failure.
-- Short back-offs are in sys_invocation_state; only the vqueues have long ones. The last event has the reason.
WITH retrying AS (
  SELECT coalesce(e.entry_id, r.id) AS id,
    CASE WHEN e.retry_attempts > coalesce(r.retry_count, 0) THEN e.retry_attempts ELSE r.retry_count END AS retry_count,
    coalesce(r.next_retry_at, e.next_at) AS next_retry_at,
    coalesce(e.deployment, r.last_attempt_deployment_id) AS deployment_id
  FROM (
    SELECT id, retry_count, next_retry_at, last_attempt_deployment_id
    FROM sys_invocation_state
    WHERE retry_count > 1 OR next_retry_at IS NOT NULL) r
  FULL JOIN (
    SELECT entry_id, CAST(retry_attempts AS BIGINT UNSIGNED) AS retry_attempts,
      CASE WHEN stage = 'inbox' THEN next_at END AS next_at, deployment
    FROM sys_vqueue_entry_status
    WHERE status = 'backing-off' OR (stage = 'running' AND retry_attempts > 1)) e ON e.entry_id = r.id),
last_error AS (
  SELECT e.id, last_value(e.event_json ORDER BY e.appended_at, e.after_journal_entry_index) AS event_json,
    max(e.appended_at) AS appended_at
  FROM retrying r
  JOIN sys_journal_events e ON e.id = r.id
  WHERE e.event_type = 'TransientError'
  GROUP BY e.id)
SELECT
  r.id,
  r.retry_count,
  r.next_retry_at,
  json_get_str(e.event_json, 'restate_doc_error_code') AS error_code,
  json_get_str(e.event_json, 'related_command_name') AS step,
  substr(split_part(json_get_str(e.event_json, 'error_message'), chr(10), 1), 1, 200) AS message,
  r.deployment_id,
  false AS in_flight,
  e.appended_at AS attempted_at
FROM retrying r
LEFT JOIN last_error e ON e.id = r.id
ORDER BY r.retry_count DESC, r.id
LIMIT :limit
