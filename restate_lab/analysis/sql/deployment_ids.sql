-- The deployments that are registered.
--
-- needs: sys_deployment
SELECT id FROM sys_deployment
