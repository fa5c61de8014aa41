-- Which SDKs and protocols are in use?
-- row: one deployment and one SDK that was used by the last attempt of a running or retrying invocation
-- cost: scan (the deployments, and the attempts in the invokers)
-- needs: sys_deployment, sys_invocation_state
-- :limit = 10000 (number) maximum number of rows
--
-- The tables have the SDK version only for current attempts: sdk is null if the deployment has no attempt now. The
-- Admin API always has it (sdk_version). A history has no attempts, and no table of a server has the SDK of an ended
-- invocation, so there sdk is always null and attempted is 0. The deployments and their protocols are complete.
SELECT
  d.id AS deployment_id,
  d.endpoint,
  d.min_service_protocol_version,
  d.max_service_protocol_version,
  d.services,
  r.last_attempt_server AS sdk,
  coalesce(r.attempted, 0) AS attempted,
  d.created_at
FROM sys_deployment d
LEFT JOIN (
  SELECT last_attempt_deployment_id, last_attempt_server, count(*) AS attempted
  FROM sys_invocation_state
  WHERE last_attempt_server IS NOT NULL
  GROUP BY last_attempt_deployment_id, last_attempt_server) r ON r.last_attempt_deployment_id = d.id
ORDER BY d.max_service_protocol_version, d.created_at, d.id, sdk
LIMIT :limit
