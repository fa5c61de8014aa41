-- Which invocations are suspended on their own Run, so that nothing resumes them?
-- row: one Run that a suspended invocation waits for, longest first
-- cost: scan (the status of every invocation, then the journals of suspended ones)
-- needs: open invocations, sys_invocation_status, sys_journal
-- with: awaited
-- :service = none (text) only this service
-- :ids = ids_by_status(status=suspended) (ids) only these invocations; default: the 10,000 suspended longest
-- :older_than = 0s (duration) only invocations suspended for at least this time
-- :limit = 1000 (number) maximum number of rows
--
-- The service itself executes a Run, so the server has no event that resumes the invocation (server issue 5196). To fix
-- it, resume the invocation.
WITH runs AS (
  SELECT id, index AS entry_index, name,
    json_get_int(json_get_json(json_get_json(entry_lite_json, 'Command'), 'Run'), 'completion_id') AS completion_id
  FROM sys_journal
  WHERE id IN :ids AND entry_type = 'Command: Run'),
waiting AS (
  SELECT id, CAST(unnest(completions) AS BIGINT) AS completion_id
  FROM awaited
  WHERE id IN :ids AND status = 'suspended')
SELECT
  s.id,
  s.target,
  s.target_service_name,
  s.target_handler_name,
  s.target_service_key,
  r.name AS step,
  r.entry_index,
  s.modified_at AS waiting_since,
  :now - s.modified_at AS waiting_for,
  s.pinned_deployment_id AS deployment_id,
  s.invoked_by_id
FROM waiting w
JOIN runs r ON r.id = w.id AND r.completion_id = w.completion_id
JOIN sys_invocation_status s ON s.id = w.id
WHERE s.id IN :ids AND s.modified_at <= :now - :older_than AND (:service IS NULL OR s.target_service_name = :service)
ORDER BY s.modified_at, s.id, r.entry_index
LIMIT :limit
