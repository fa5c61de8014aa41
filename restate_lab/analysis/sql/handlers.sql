-- The services and handlers that have invocations.
--
-- needs: sys_invocation_status
SELECT DISTINCT target_service_name, target_handler_name FROM sys_invocation_status
