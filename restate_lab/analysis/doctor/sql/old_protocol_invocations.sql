-- Which open invocations are pinned to an old service protocol?
-- row: one open invocation, oldest first
-- cost: scan (the status of every invocation)
-- needs: sys_invocation_status.pinned_service_protocol_version
-- :newest = required (number) the newest of the old versions
-- :limit = required (number) maximum number of rows
SELECT id, status, target_service_name, target_handler_name, created_at, pinned_service_protocol_version
FROM sys_invocation_status
WHERE pinned_service_protocol_version <= :newest AND status <> 'completed'
ORDER BY created_at, id
LIMIT :limit
