-- Which deployment is failing?
-- row: one deployment and error code, with the invocations whose last attempt failed there
-- cost: scan (the vqueues' entries; if any is being retried, also journal events and every status)
-- needs: open invocations
-- needs: feature vqueues, sys_invocation_state, sys_vqueue_entry_status, sys_journal_events, sys_invocation_status
-- needs: sys_deployment
-- :limit = 1000 (number) maximum number of rows
--
-- is_known is false if the deployment was removed.
-- Short back-offs are in sys_invocation_state, long ones only in the vqueues; the reason of both is in the last event.
WITH retrying AS (
  SELECT coalesce(e.entry_id, r.id) AS id,
    CASE WHEN e.retry_attempts > coalesce(r.retry_count, 0) THEN e.retry_attempts ELSE r.retry_count END AS retry_count,
    coalesce(r.next_retry_at, e.next_at) AS next_retry_at,
    coalesce(e.deployment, r.last_attempt_deployment_id) AS deployment_id
  FROM (
    SELECT id, retry_count, next_retry_at, last_attempt_deployment_id
    FROM sys_invocation_state
    WHERE retry_count > 1) r
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
failing AS (
  SELECT coalesce(r.deployment_id, s.pinned_deployment_id) AS deployment_id,
    json_get_str(e.event_json, 'restate_doc_error_code') AS error_code, r.id, r.retry_count, s.target_service_name,
    substr(split_part(json_get_str(e.event_json, 'error_message'), chr(10), 1), 1, 200) AS message
  FROM retrying r
  LEFT JOIN last_error e ON e.id = r.id
  JOIN sys_invocation_status s ON s.id = r.id
  WHERE s.status = 'invoked')
SELECT
  f.deployment_id,
  d.endpoint,
  d.id IS NOT NULL AS is_known,
  d.created_at AS deployed_at,
  f.error_code,
  f.n,
  f.attempts,
  f.services,
  f.example_id,
  f.example_message
FROM (
  SELECT deployment_id, error_code, count(*) AS n, sum(retry_count) AS attempts,
    array_agg(DISTINCT target_service_name ORDER BY target_service_name) AS services,
    min(id) AS example_id, min(message) AS example_message
  FROM failing
  GROUP BY deployment_id, error_code) f
LEFT JOIN sys_deployment d ON d.id = f.deployment_id
ORDER BY f.n DESC, f.deployment_id, f.error_code
LIMIT :limit
