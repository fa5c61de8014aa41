-- What is the current status of these invocations?
-- row: one invocation
-- cost: point (the status of these invocations)
-- needs: sys_invocation_status, sys_invocation_state
-- :ids = required (ids) the invocations
--
-- If a source has several runs of one id, the newest run is the last row.
SELECT
  s.id,
  s.target,
  CASE
    WHEN s.status = 'inboxed' THEN 'pending'
    WHEN s.status <> 'invoked' THEN s.status
    WHEN r.in_flight THEN 'running'
    WHEN r.retry_count > 0 THEN 'backing-off'
    ELSE 'ready' END AS status,
  s.created_at,
  s.modified_at,
  s.scheduled_start_at,
  CAST(r.retry_count AS BIGINT) AS attempts,
  r.next_retry_at
FROM sys_invocation_status s
LEFT JOIN sys_invocation_state r ON r.id = s.id
WHERE s.id IN :ids
ORDER BY s.created_at
