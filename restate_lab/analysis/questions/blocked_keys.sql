-- Which keys are blocked, by which invocation, since when, and which invocation called the holder?
-- row: one key of a virtual object with waiting calls, the most waiting calls first
-- cost: scan (the queues; if calls wait, also the status of every invocation)
-- needs: open invocations, sys_invocation_status, sys_invocation_state
-- :service = none (text) only keys of this service
-- :limit = 1000 (number) maximum number of rows
--
-- Version 1.8 does not report holders in partitions that are not migrated yet: there holder_id is null, and holder_status
-- is 'not known'. Without a holder at this time, both are null.
-- with: queued, holders, backing_off
WITH waiting AS (
  SELECT q.key, q.scope, q.service_name, count(*) AS waiting, min(s.inboxed_at) AS waiting_since,
    min(s.target_service_key) AS service_key,
    -- if: sys_keyed_service_status
    false AS is_unreadable
    -- else
    bool_or(s.vqueue_id IS NULL) AS is_unreadable
    -- end
  FROM queued q
  JOIN sys_invocation_status s ON s.id = q.id
  WHERE :service IS NULL OR q.service_name = :service
  GROUP BY 1, 2, 3
  ORDER BY waiting DESC, 1, 2
  LIMIT :limit)
SELECT
  w.service_name AS target_service_name,
  w.service_key AS target_service_key,
  w.scope,
  w.waiting,
  w.waiting_since,
  h.id AS holder_id,
  h.target_handler_name AS holder_handler_name,
  CASE
    WHEN h.id IS NULL AND w.is_unreadable THEN 'not known'
    WHEN h.id IS NULL THEN NULL
    WHEN h.status = 'inboxed' THEN 'pending'
    WHEN h.status <> 'invoked' THEN h.status
    WHEN r.in_flight THEN 'running'
    WHEN r.retry_count > 0 OR b.id IS NOT NULL THEN 'backing-off'
    ELSE 'ready' END AS holder_status,
  h.running_at AS holder_running_at,
  h.modified_at AS holder_modified_at,
  h.invoked_by_id AS holder_invoked_by_id,
  h.invoked_by_target AS holder_invoked_by_target
FROM waiting w
LEFT JOIN holders k ON k.key = w.key AND k.scope IS NOT DISTINCT FROM w.scope
LEFT JOIN sys_invocation_status h ON h.id = k.holder_id
LEFT JOIN sys_invocation_state r ON r.id = k.holder_id
LEFT JOIN backing_off b ON b.id = k.holder_id
ORDER BY w.waiting DESC, w.service_name, w.service_key
LIMIT :limit
