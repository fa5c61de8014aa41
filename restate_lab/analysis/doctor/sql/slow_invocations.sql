-- Which invocations of this handler were slow?
-- row: one succeeded invocation, most recent first
-- cost: scan (the status of every invocation)
-- needs: sys_invocation_status
-- :service = required (text) its service
-- :handler = required (text) its handler
-- :ms = required (number) minimum duration in milliseconds, from its first attempt
-- :limit = required (number) maximum number of rows
SELECT id, target_service_name, target_handler_name, status, completion_result, running_at, completed_at
FROM sys_invocation_status
WHERE status = 'completed' AND completion_result = 'success' AND target_service_name = :service
  AND target_handler_name = :handler
  AND arrow_cast(completed_at, 'Int64') - arrow_cast(running_at, 'Int64') >= :ms
ORDER BY completed_at DESC, id
LIMIT :limit
