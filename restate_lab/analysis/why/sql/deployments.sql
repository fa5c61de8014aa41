-- Which of these deployments are registered, and which one has the latest revision of this service?
-- row: one deployment
-- cost: point (the deployments and the services, of which there are few)
-- needs: sys_deployment, sys_service
-- :ids = required (names) deployments
-- :service = required (text) the service
SELECT
  d.id,
  d.endpoint,
  s.name IS NOT NULL AS is_latest
FROM sys_deployment d
LEFT JOIN (SELECT name, deployment_id FROM sys_service WHERE name = :service) s ON s.deployment_id = d.id
WHERE d.id IN :ids OR s.name IS NOT NULL
