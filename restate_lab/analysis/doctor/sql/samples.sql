-- Which invocations does the doctor examine one by one, and what is their state?
-- row: one invocation that is open, has failed, or was slow, in no order
-- cost: scan (the status of every invocation), or point (the status of some)
-- needs: sys_invocation_status
-- with: awaited
-- :every = required (flag) examine all invocations, and otherwise only ids
-- :ids = required (ids) the invocations to examine
-- :statuses = required (ids) include invocations with one of these statuses
-- :failed = required (flag) include permanently failed invocations, but not cancelled or killed ones
-- :since = required (time) include only failed invocations completed since then
-- :slow = required (flag) include slow invocations
-- :slow_handlers = required (ids) handlers ("service/handler") whose slow invocations are included
-- :slow_ms = required (number) milliseconds from which a successful invocation is slow
-- :limit = required (number) maximum number of rows
--
-- The cost of a scan hardly depends on its filter, so one scan reads all kinds. It runs only if the census counted few
-- enough. The filter is also for ids: an invocation can have changed since sample_ids.sql found it.
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
  completions,
  signals
FROM awaited
WHERE (:every OR id IN :ids)
  AND (status IN :statuses
    OR (:failed AND completion_result = 'failure' AND completed_at >= :since
      AND NOT completion_failure ~ '^\[409( Aborted)?\] ([Kk]illed|[Cc]ancell?ed)$')
    OR (:slow AND completion_result = 'success' AND target_service_name || '/' || target_handler_name IN :slow_handlers
      AND arrow_cast(completed_at, 'Int64') - arrow_cast(running_at, 'Int64') >= :slow_ms))
LIMIT :limit
