-- Which invocations are in the retry storm?
-- row: one invocation that is being retried, the most attempts first
-- cost: scan (the vqueues' entries; if any is being retried, also journal events and every status)
-- needs: open invocations
-- needs: feature vqueues, sys_invocation_state, sys_vqueue_entry_status, sys_journal_events, sys_invocation_status
-- :service = none (text) only this service
-- :handler = none (text) only this handler
-- :error_code = none (text) only this error code, such as RT0007
-- :step = none (text) only failures in this step
-- :limit = 10000 (number) maximum number of rows
--
-- message is the first line.
-- Short back-offs are in sys_invocation_state, long ones only in the vqueues; the reason of both is in the last event.
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
  SELECT e.id, last_value(e.event_json ORDER BY e.appended_at, e.after_journal_entry_index) AS event_json
  FROM retrying r
  JOIN sys_journal_events e ON e.id = r.id
  WHERE e.event_type = 'TransientError'
  GROUP BY e.id),
read AS (
  SELECT r.id, r.retry_count, r.next_retry_at, r.deployment_id,
    json_get_str(e.event_json, 'restate_doc_error_code') AS error_code,
    json_get_str(e.event_json, 'related_command_name') AS step,
    substr(split_part(json_get_str(e.event_json, 'error_message'), chr(10), 1), 1, 200) AS message
  FROM retrying r
  LEFT JOIN last_error e ON e.id = r.id)
SELECT
  s.id,
  s.target,
  s.target_service_name,
  s.target_handler_name,
  s.target_service_key,
  CASE WHEN r.next_retry_at IS NULL THEN 'running' ELSE 'backing-off' END AS status,
  r.retry_count,
  r.next_retry_at,
  r.error_code,
  r.step,
  r.message,
  coalesce(r.deployment_id, s.pinned_deployment_id) AS deployment_id,
  s.created_at,
  s.invoked_by_id
FROM read r
JOIN sys_invocation_status s ON s.id = r.id
WHERE s.status = 'invoked'
  AND (:service IS NULL OR s.target_service_name = :service)
  AND (:handler IS NULL OR s.target_handler_name = :handler)
  AND (:error_code IS NULL OR r.error_code = :error_code)
  AND (:step IS NULL OR r.step = :step)
ORDER BY r.retry_count DESC, s.id
LIMIT :limit
