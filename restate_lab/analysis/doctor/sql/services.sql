-- Which deployment has the latest revision of each service?
-- row: one service
-- cost: point (the services)
-- needs: sys_service
SELECT name, deployment_id
FROM sys_service
