-- Which SDKs and protocols are in use?
-- row: one deployment and one SDK seen at the last attempt of something that runs or is tried again
-- cost: scan (the deployments, what the invokers hold)
-- needs: sys_deployment, sys_invocation_state
-- :limit = 10000 (number) this many rows at most
--
-- The tables have no SDK version of a deployment at rest: sdk is null where nothing of it is being attempted now. The
-- Admin API has it (sdk_version).
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
