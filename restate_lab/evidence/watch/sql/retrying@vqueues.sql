-- Which invocations are being retried, and at which attempt is each?
-- row: one invocation that backs off, or is in its second or a later attempt
-- cost: scan (the vqueues' entries; if any is being retried, also the status of every invocation)
-- needs: feature vqueues, sys_invocation_state, sys_vqueue_entry_status, sys_invocation_status
-- :service = none (text) only this service
-- :limit = required (number) maximum number of rows
--
-- n is the number of such invocations of the handler, also beyond the limit. The first attempt counts as one. Short
-- back-offs are in sys_invocation_state, long ones only in the vqueues.
WITH retrying AS (
  SELECT coalesce(e.entry_id, r.id) AS id,
    CASE WHEN e.retry_attempts > coalesce(r.retry_count, 0) THEN e.retry_attempts ELSE r.retry_count END AS retry_count
  FROM (
    SELECT id, CAST(retry_count AS BIGINT) AS retry_count
    FROM sys_invocation_state
    WHERE retry_count > 1 OR (retry_count > 0 AND in_flight IS NOT TRUE)) r
  FULL JOIN (
    SELECT entry_id, CAST(retry_attempts AS BIGINT) AS retry_attempts
    FROM sys_vqueue_entry_status
    WHERE status = 'backing-off' OR (stage = 'running' AND retry_attempts > 1)) e ON e.entry_id = r.id)
SELECT
  r.id,
  s.target_service_name,
  s.target_handler_name,
  s.created_at,
  r.retry_count,
  count(*) OVER (PARTITION BY s.target_service_name, s.target_handler_name) AS n
FROM retrying r
JOIN sys_invocation_status s ON s.id = r.id
WHERE s.status = 'invoked' AND (:service IS NULL OR s.target_service_name = :service)
ORDER BY r.id
LIMIT :limit
