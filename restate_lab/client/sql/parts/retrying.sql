-- The invocations that are being retried, with the reason: line is the first line of the message.
-- Short back-offs are in sys_invocation_state; only the vqueues have long ones, and their errors are events.
-- Cast a shortened line to LargeUtf8: without it, the server sends the whole text of all lines with each batch.
-- with: retried_states, entry_errors
SELECT id, retry_count, next_retry_at, deployment_id, in_flight, coalesce(last_start_at, appended_at) AS attempted_at,
  coalesce(last_failure_error_code, json_get_str(event_json, 'restate_doc_error_code')) AS error_code,
  coalesce(last_failure_related_command_name, json_get_str(event_json, 'related_command_name')) AS step,
  coalesce(regexp_replace(split_part(last_failure, chr(10), 1), '^\[[0-9]+[^\]]*\] ', ''),
    split_part(json_get_str(event_json, 'error_message'), chr(10), 1)) AS line
FROM (
  SELECT coalesce(e.entry_id, r.id) AS id,
    CASE WHEN e.retry_attempts > coalesce(r.retry_count, 0) THEN e.retry_attempts ELSE r.retry_count END AS retry_count,
    coalesce(r.next_retry_at, e.next_at) AS next_retry_at,
    coalesce(e.deployment, r.last_attempt_deployment_id) AS deployment_id,
    r.last_failure, r.last_failure_error_code, r.last_failure_related_command_name,
    coalesce(r.in_flight, false) AS in_flight, r.last_start_at,
    CASE WHEN r.last_failure IS NULL THEN e.last_event END AS event_json,
    CASE WHEN r.last_failure IS NULL THEN e.last_event_at END AS appended_at
  FROM retried_states r
  FULL JOIN entry_errors e ON e.entry_id = r.id)
