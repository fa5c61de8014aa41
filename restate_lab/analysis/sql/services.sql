-- The registered services.
--
-- needs: sys_service
SELECT DISTINCT name FROM sys_service
