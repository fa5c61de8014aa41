-- The services that are registered.
--
-- needs: sys_service
SELECT DISTINCT name FROM sys_service
