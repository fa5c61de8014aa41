-- How do these invocations combine their waits?
-- row: one invocation
-- cost: point (the status of these invocations)
-- needs: sys_invocation_status.suspended_waiting_future_json
-- :ids = required (ids) suspended invocations
SELECT
  id,
  suspended_waiting_future_json AS future_json
FROM sys_invocation_status
WHERE id IN :ids AND suspended_waiting_future_json IS NOT NULL
