-- The services and handlers that there are invocations of.
--
-- needs: sys_invocation_status
SELECT DISTINCT target_service_name, target_handler_name FROM sys_invocation_status
