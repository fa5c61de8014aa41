-- Which invocations does the doctor examine one by one?
-- row: the id of one invocation that is open, has failed, or was slow, in no order
-- cost: scan (the status of every invocation)
-- needs: sys_invocation_status
-- :statuses = required (ids) include invocations with one of these statuses
-- :failed = required (flag) include permanently failed invocations, but not cancelled or killed ones
-- :since = required (time) include only failed invocations completed since then
-- :slow = required (flag) include slow invocations
-- :slow_handlers = required (ids) handlers ("service/handler") whose slow invocations are included
-- :slow_ms = required (number) milliseconds from which a successful invocation is slow
-- :limit = required (number) maximum number of rows
--
-- Each column makes a scan slower, so that the details of few invocations are then read by id.
SELECT id
FROM sys_invocation_status
WHERE status IN :statuses
  OR (:failed AND completion_result = 'failure' AND completed_at >= :since
    AND NOT completion_failure ~ '^\[409( Aborted)?\] ([Kk]illed|[Cc]ancell?ed)$')
  OR (:slow AND completion_result = 'success' AND target_service_name || '/' || target_handler_name IN :slow_handlers
    AND arrow_cast(completed_at, 'Int64') - arrow_cast(running_at, 'Int64') >= :slow_ms)
LIMIT :limit
