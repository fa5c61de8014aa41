-- Which keys are blocked, by which invocation, since when, and which invocation called the holder?
-- row: one key of a virtual object with waiting calls, the most waiting calls first
-- cost: scan (the inbox; if calls wait, also the status of every invocation)
-- needs: sys_inbox, sys_keyed_service_status, sys_invocation_status, sys_invocation_state
-- :service = none (text) only keys of this service
-- :limit = 1000 (number) maximum number of rows
SELECT
  w.target_service_name,
  w.target_service_key,
  CAST(NULL AS VARCHAR) AS scope,
  w.waiting,
  w.waiting_since,
  h.id AS holder_id,
  h.target_handler_name AS holder_handler_name,
  CASE
    WHEN h.status = 'inboxed' THEN 'pending'
    WHEN h.status <> 'invoked' THEN h.status
    WHEN r.in_flight THEN 'running'
    WHEN r.retry_count > 0 THEN 'backing-off'
    ELSE 'ready' END AS holder_status,
  h.running_at AS holder_running_at,
  h.modified_at AS holder_modified_at,
  h.invoked_by_id AS holder_invoked_by_id,
  h.invoked_by_target AS holder_invoked_by_target
FROM (
  SELECT i.service_name AS target_service_name, i.service_key AS target_service_key, count(*) AS waiting,
    min(s.inboxed_at) AS waiting_since
  FROM sys_inbox i
  JOIN sys_invocation_status s ON s.id = i.id
  WHERE :service IS NULL OR i.service_name = :service
  GROUP BY 1, 2
  ORDER BY waiting DESC, 1, 2
  LIMIT :limit) w
LEFT JOIN sys_keyed_service_status k
  ON k.service_name = w.target_service_name AND k.service_key = w.target_service_key
LEFT JOIN sys_invocation_status h ON h.id = k.invocation_id
LEFT JOIN sys_invocation_state r ON r.id = k.invocation_id
ORDER BY w.waiting DESC, w.target_service_name, w.target_service_key
LIMIT :limit
