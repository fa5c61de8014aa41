-- What is the current status of these invocations?
-- row: one invocation
-- cost: point (the status of these invocations)
-- needs: sys_invocation_status, sys_invocation_state
-- :ids = required (ids) the invocations
--
-- If a source has several runs of one id, the newest run is the last row.
-- with: entries
SELECT
  s.id,
  s.target,
  CASE
    WHEN s.status = 'inboxed' THEN 'pending'
    WHEN s.status <> 'invoked' THEN s.status
    WHEN r.in_flight THEN 'running'
    WHEN r.retry_count > 0 OR q.status = 'backing-off' THEN 'backing-off'
    ELSE 'ready' END AS status,
  s.created_at,
  s.modified_at,
  s.scheduled_start_at,
  CAST(coalesce(q.num_errors, r.retry_count) AS BIGINT) AS attempts,
  coalesce(r.next_retry_at, CASE WHEN q.status = 'backing-off' THEN q.next_at END) AS next_retry_at
FROM sys_invocation_status s
LEFT JOIN sys_invocation_state r ON r.id = s.id
LEFT JOIN (SELECT * FROM entries WHERE id IN :ids) q ON q.id = s.id
WHERE s.id IN :ids
ORDER BY s.created_at
