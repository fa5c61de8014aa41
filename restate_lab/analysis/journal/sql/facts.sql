-- What is recorded about this invocation besides its journal?
-- row: the invocation; if the source has several runs of its id, one row per run, the newest first
-- cost: point (the status of one invocation)
-- needs: sys_invocation_status, sys_invocation_state
-- :id = required (id) the invocation
SELECT
  s.id,
  s.target_service_ty,
  s.created_at,
  s.modified_at,
  s.running_at,
  s.completed_at,
  CASE WHEN s.scheduled_at IS NOT NULL THEN s.scheduled_start_at END AS scheduled_start_at,
  s.invoked_by,
  s.invoked_by_id,
  s.invoked_by_target,
  s.restarted_from,
  s.idempotency_key,
  s.pinned_deployment_id,
  CAST(s.pinned_service_protocol_version AS BIGINT) AS protocol,
  s.completion_failure,
  s.completion_retention,
  s.journal_retention,
  r.last_attempt_deployment_id,
  r.last_attempt_server,
  r.last_start_at,
  CASE WHEN s.status = 'invoked' THEN r.last_failure END AS last_failure,
  CASE WHEN s.status = 'invoked' THEN r.last_failure_related_command_name END AS failed_step
FROM (SELECT * FROM sys_invocation_status WHERE id = :id) s
LEFT JOIN (SELECT * FROM sys_invocation_state WHERE id = :id) r ON r.id = s.id
ORDER BY s.created_at DESC
