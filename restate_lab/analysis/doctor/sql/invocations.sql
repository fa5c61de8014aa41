-- What are these invocations?
-- row: one invocation
-- cost: point (the status of these invocations)
-- needs: sys_invocation_status
-- :ids = required (ids) the invocations
SELECT id, target, target_service_name, target_handler_name, status, pinned_deployment_id, created_at, modified_at
FROM sys_invocation_status
WHERE id IN :ids
