-- Which deployment is failing?
-- row: one deployment and error code, with the invocations whose last attempt failed there
-- cost: scan (the vqueues' entries; if any is being retried, also journal events and every status)
-- needs: open invocations, the present, sys_invocation_state, sys_invocation_status, sys_deployment
-- :limit = 1000 (number) maximum number of rows
-- with: retrying
--
-- is_known is false if the deployment was removed.
WITH failing AS (
  SELECT coalesce(r.deployment_id, s.pinned_deployment_id) AS deployment_id, r.error_code, r.id, r.retry_count,
    s.target_service_name, substr(r.line, 1, 200) AS message
  FROM retrying r
  JOIN sys_invocation_status s ON s.id = r.id
  WHERE s.status = 'invoked')
SELECT
  f.deployment_id,
  d.endpoint,
  d.id IS NOT NULL AS is_known,
  d.created_at AS deployed_at,
  f.error_code,
  f.invocations,
  f.attempts,
  f.services,
  f.example_id,
  f.example_message
FROM (
  SELECT deployment_id, error_code, count(*) AS invocations, sum(retry_count) AS attempts,
    array_agg(DISTINCT target_service_name ORDER BY target_service_name) AS services,
    min(id) AS example_id, min(message) AS example_message
  FROM failing
  GROUP BY deployment_id, error_code) f
LEFT JOIN sys_deployment d ON d.id = f.deployment_id
ORDER BY f.invocations DESC, f.deployment_id, f.error_code
LIMIT :limit
