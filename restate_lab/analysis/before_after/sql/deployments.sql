-- Which deployments are registered?
-- row: one deployment, oldest first
-- cost: point (the deployments)
-- needs: sys_deployment
SELECT
  id,
  created_at,
  services
FROM sys_deployment
ORDER BY created_at, id
