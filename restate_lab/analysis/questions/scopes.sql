-- What do the scopes have in flight, waiting and failed?
-- row: one scope, the one with the oldest wait first
-- cost: scan (the status of every invocation, and every entry of the vqueues)
-- needs: feature vqueues, sys_invocation_status.scope, sys_vqueues
-- :since = 24h (time) failures since this time
-- :service = none (text) only calls of this service
-- :limit = 1000 (number) maximum number of rows
WITH waits AS (
  SELECT entry_id AS id, coalesce(first_runnable_at, created_at) AS runnable_at
  FROM sys_vqueues
  WHERE stage = 'inbox' AND status <> 'scheduled' AND NOT has_lock AND entry_kind = 'invocation')
SELECT
  s.scope,
  count(*) FILTER (WHERE s.status <> 'completed') AS open,
  count(*) FILTER (WHERE s.status <> 'completed' AND w.id IS NOT NULL) AS waiting,
  count(*) FILTER (WHERE s.status = 'scheduled') AS scheduled,
  count(*) FILTER (WHERE s.status = 'suspended') AS suspended,
  count(*) FILTER (WHERE s.status = 'paused') AS paused,
  min(w.runnable_at) AS oldest_runnable_at,
  :now - min(w.runnable_at) AS oldest_wait,
  first_value(w.id ORDER BY w.runnable_at NULLS LAST, w.id) AS oldest_id,
  count(*) FILTER (WHERE s.completion_result = 'success' AND s.completed_at >= :since) AS succeeded,
  count(*) FILTER (WHERE s.completion_result = 'failure' AND s.completed_at >= :since) AS failed,
  max(CASE WHEN s.completion_result = 'failure' AND s.completed_at >= :since THEN s.completed_at END) AS last_failed_at
FROM waits w
RIGHT JOIN sys_invocation_status s ON s.id = w.id
WHERE s.scope IS NOT NULL AND (:service IS NULL OR s.target_service_name = :service)
GROUP BY 1
ORDER BY oldest_runnable_at NULLS LAST, open DESC, 1
LIMIT :limit
