-- Which invocations failed permanently, and with which message?
-- row: one invocation, in no order; excludes cancelled and killed ones
-- cost: scan (the status of every invocation)
-- needs: sys_invocation_status
-- :since = required (time) completed since then
-- :limit = required (number) maximum number of rows
SELECT
  id,
  target_service_name,
  target_handler_name,
  completed_at,
  status,
  completion_result,
  invoked_by_id,
  substr(split_part(completion_failure, chr(10), 1), 1, 400) AS failure
FROM sys_invocation_status
WHERE status = 'completed' AND completion_result = 'failure' AND completed_at >= :since
  AND NOT completion_failure ~ '^\[409( Aborted)?\] ([Kk]illed|[Cc]ancell?ed)$'
LIMIT :limit
