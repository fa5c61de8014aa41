-- Which invocations are being retried, and at which attempt is each?
-- row: one invocation that backs off, or is in its second or a later attempt
-- cost: scan (the vqueues' entries; if any is being retried, also the status of every invocation)
-- needs: sys_invocation_state, sys_invocation_status
-- :service = none (text) only this service
-- :limit = required (number) maximum number of rows
--
-- n is the number of such invocations of the handler, also beyond the limit. The first attempt counts as one. Short
-- back-offs are in sys_invocation_state, long ones only in the vqueues.
-- with: attempts
SELECT
  r.id,
  s.target_service_name,
  s.target_handler_name,
  s.created_at,
  CAST(r.retry_count AS BIGINT) AS retry_count,
  count(*) OVER (PARTITION BY s.target_service_name, s.target_handler_name) AS n
FROM attempts r
JOIN sys_invocation_status s ON s.id = r.id
WHERE s.status = 'invoked' AND (:service IS NULL OR s.target_service_name = :service)
ORDER BY r.id
LIMIT :limit
