-- The registered deployments.
--
-- needs: sys_deployment
SELECT id FROM sys_deployment
