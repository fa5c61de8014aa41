-- What is wrong right now, per handler?
-- row: one handler and status, with the number of invocations; without completed ones
-- cost: scan (the status of every invocation, and every entry of the vqueues)
-- needs: open invocations, sys_invocation_status, sys_invocation_state
-- :service = none (text) only this service
-- :limit = 1000 (number) maximum number of rows
-- with: backing_off
--
-- Long back-offs are only in sys_vqueues, short ones in sys_invocation_state.
SELECT
  s.target_service_name,
  s.target_handler_name,
  CASE
    WHEN s.status = 'inboxed' THEN 'pending'
    WHEN s.status <> 'invoked' THEN s.status
    WHEN r.in_flight THEN 'running'
    WHEN r.retry_count > 0 OR b.id IS NOT NULL THEN 'backing-off'
    ELSE 'ready' END AS status,
  count(*) AS invocations,
  first_value(s.id ORDER BY s.created_at, s.id) AS oldest_id,
  min(s.created_at) AS oldest_created_at,
  :now - min(s.created_at) AS oldest_age
FROM backing_off b
RIGHT JOIN (
  sys_invocation_status s
  LEFT JOIN sys_invocation_state r ON r.id = s.id) ON s.id = b.id
WHERE s.status <> 'completed' AND (:service IS NULL OR s.target_service_name = :service)
GROUP BY 1, 2, 3
ORDER BY 1, 2, invocations DESC, 3
LIMIT :limit
