-- What is known about each invocation that the doctor examines one by one?
-- row: one invocation that is open, has failed, or took long, in no order
-- cost: scan (the status of every invocation)
-- needs: sys_invocation_status
-- :statuses = required (ids) with those that have one of these statuses
-- :failed = required (flag) with those that have failed for good; cancelled and killed ones did not fail
-- :since = required (time) completed since then, of those that have failed
-- :slow = required (flag) with those that took long
-- :slow_handlers = required (ids) of these handlers ("service/handler")
-- :slow_ms = required (number) milliseconds from which on a success took long
-- :limit = required (number) this many rows at most
--
-- Scans cost much the same whatever they look for, so this is one for all of them, and only where the census counted
-- few enough. What is filtered is selected too: 1.6.1 compares with the wrong column otherwise.
SELECT
  id,
  status,
  target,
  target_service_name,
  target_handler_name,
  invoked_by_id,
  pinned_deployment_id,
  created_at,
  modified_at,
  running_at,
  completed_at,
  completion_result,
  substr(split_part(completion_failure, chr(10), 1), 1, 400) AS failure,
  suspended_waiting_for_completions AS completions,
  suspended_waiting_for_signals AS signals
FROM sys_invocation_status
WHERE status IN :statuses
  OR (:failed AND completion_result = 'failure' AND completed_at >= :since
    AND NOT completion_failure ~ '^\[409( Aborted)?\] ([Kk]illed|[Cc]ancell?ed)$')
  OR (:slow AND completion_result = 'success' AND target_service_name || '/' || target_handler_name IN :slow_handlers
    AND arrow_cast(completed_at, 'Int64') - arrow_cast(running_at, 'Int64') >= :slow_ms)
LIMIT :limit
