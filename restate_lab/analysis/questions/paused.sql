-- Which invocations are paused, and why?
-- row: one paused invocation, longest paused first
-- cost: scan (the status of every invocation, then the events of paused ones)
-- needs: open invocations, sys_invocation_status, sys_journal_events
-- :service = none (text) only this service
-- :ids = ids_by_status(status=paused) (ids) only these invocations; default: the 10,000 paused longest
-- :limit = 10000 (number) maximum number of rows
--
-- The reason is in the last Paused event. An invocation that was paused manually without a failure has no reason: its
-- error_code, step and message are null. message is the first line.
WITH events AS (
  SELECT id, last_value(event_json ORDER BY appended_at, after_journal_entry_index) AS event_json,
    max(appended_at) AS paused_at
  FROM sys_journal_events
  WHERE id IN :ids AND event_type = 'Paused'
  GROUP BY id),
reasons AS (
  SELECT id, paused_at, json_get_json(event_json, 'last_failure') AS failure
  FROM events)
SELECT
  s.id,
  s.target,
  s.target_service_name,
  s.target_handler_name,
  s.target_service_key,
  coalesce(e.paused_at, s.modified_at) AS paused_at,
  :now - coalesce(e.paused_at, s.modified_at) AS paused_for,
  json_get_str(e.failure, 'restate_doc_error_code') AS error_code,
  json_get_int(e.failure, 'error_code') AS http_code,
  json_get_str(e.failure, 'related_command_name') AS step,
  substr(split_part(json_get_str(e.failure, 'error_message'), chr(10), 1), 1, 200) AS message,
  s.pinned_deployment_id AS deployment_id,
  s.created_at,
  s.invoked_by_id
FROM sys_invocation_status s
LEFT JOIN reasons e ON e.id = s.id
WHERE s.id IN :ids AND s.status = 'paused' AND (:service IS NULL OR s.target_service_name = :service)
ORDER BY paused_at, s.id
LIMIT :limit
