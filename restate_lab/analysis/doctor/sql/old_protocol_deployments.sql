-- Which deployments only have an old service protocol?
-- row: one deployment, oldest first
-- cost: point (the deployments)
-- needs: sys_deployment.max_service_protocol_version
-- :newest = required (number) the newest of the old versions
SELECT id, endpoint, created_at, max_service_protocol_version
FROM sys_deployment
WHERE max_service_protocol_version <= :newest
ORDER BY created_at, id
