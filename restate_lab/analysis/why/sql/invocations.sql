-- What is the status of these invocations?
-- row: one invocation that exists
-- cost: point (the status of these invocations)
-- needs: sys_invocation_status, sys_invocation_state
-- :ids = required (ids) the invocations
--
-- If a source has several runs of one id, the newest run is the last row. Long back-offs are in back_offs.sql.
SELECT
  s.id,
  s.partition_key,
  s.target,
  s.target_service_name,
  s.target_service_key,
  s.target_handler_name,
  s.target_service_ty,
  s.vqueue_id,
  s.scope,
  CASE
    WHEN s.status = 'inboxed' THEN 'pending'
    WHEN s.status = 'completed' AND s.completion_result = 'success' THEN 'succeeded'
    WHEN s.status = 'completed' AND s.completion_failure ~ '^\[409( Aborted)?\] [Kk]illed$' THEN 'killed'
    WHEN s.status = 'completed' AND s.completion_failure ~ '^\[409( Aborted)?\] [Cc]ancell?ed$' THEN 'cancelled'
    WHEN s.status = 'completed' THEN 'failed'
    WHEN s.status <> 'invoked' THEN s.status
    WHEN r.in_flight THEN 'running'
    WHEN r.retry_count > 0 THEN 'backing-off'
    ELSE 'ready' END AS status,
  s.created_at,
  s.modified_at,
  s.inboxed_at,
  s.scheduled_at,
  s.scheduled_start_at,
  s.running_at,
  s.completed_at,
  s.completion_failure,
  s.completion_retention,
  s.journal_retention,
  s.journal_size,
  s.invoked_by,
  s.invoked_by_id,
  s.invoked_by_target,
  s.restarted_from,
  s.idempotency_key,
  s.pinned_deployment_id,
  r.last_attempt_deployment_id,
  r.next_retry_at,
  CAST(r.retry_count AS BIGINT) - CASE WHEN r.in_flight THEN 1 ELSE 0 END AS failed_attempts
FROM (
  -- if: sys_invocation_status.vqueue_id
  SELECT * FROM sys_invocation_status WHERE id IN :ids
  -- else
  SELECT *, CAST(NULL AS VARCHAR) AS vqueue_id, CAST(NULL AS VARCHAR) AS scope
  FROM sys_invocation_status WHERE id IN :ids
  -- end
) s
LEFT JOIN (SELECT * FROM sys_invocation_state WHERE id IN :ids) r ON r.id = s.id
ORDER BY s.created_at
