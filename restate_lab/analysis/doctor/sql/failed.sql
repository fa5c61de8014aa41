-- Which invocations have failed for good, and with what message?
-- row: one of them, in no order; cancelled and killed ones did not fail
-- cost: scan (the status of every invocation)
-- needs: sys_invocation_status
-- :since = required (time) completed since then
-- :limit = required (number) this many rows at most
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
