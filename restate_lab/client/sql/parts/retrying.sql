-- The invocations that are being retried, with the reason: line is the first line of the message.
-- with: attempt_errors
SELECT a.id, a.retry_count, a.next_retry_at, a.deployment_id, coalesce(a.in_flight, false) AS in_flight,
  coalesce(a.last_start_at, e.appended_at) AS attempted_at,
  coalesce(a.last_failure_error_code, json_get_str(e.event_json, 'restate_doc_error_code')) AS error_code,
  coalesce(a.last_failure_related_command_name, json_get_str(e.event_json, 'related_command_name')) AS step,
  coalesce(regexp_replace(split_part(a.last_failure, chr(10), 1), '^\[[0-9]+[^\]]*\] ', ''),
    split_part(json_get_str(e.event_json, 'error_message'), chr(10), 1)) AS line
FROM attempts a
LEFT JOIN attempt_errors e ON e.id = a.id
