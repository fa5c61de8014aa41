-- Which deployment has the latest revision of each service?
-- row: one service
-- cost: small
-- needs: sys_service
SELECT name, deployment_id
FROM sys_service
