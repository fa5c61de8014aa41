-- Which invocations were created since a time?
-- row: one invocation, the newest first
-- cost: scan (the status of every invocation)
-- needs: sys_invocation_status
-- :since = required (time) only invocations created since this time
-- :service = none (text) only this service
-- :limit = required (number) maximum number of rows
SELECT id, created_at, target_service_name, target_handler_name, target_service_key, idempotency_key
FROM sys_invocation_status
WHERE created_at >= :since
  AND (:service IS NULL OR target_service_name = :service)
ORDER BY created_at DESC
LIMIT :limit
