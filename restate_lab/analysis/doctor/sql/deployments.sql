-- Which deployments are registered?
-- row: one deployment
-- cost: point (the deployments)
-- needs: sys_deployment
SELECT id, endpoint, created_at
FROM sys_deployment
