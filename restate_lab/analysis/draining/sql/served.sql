-- Which services does each deployment have?
-- row: one deployment
-- cost: small
-- needs: sys_deployment
SELECT id, services
FROM sys_deployment
