-- How many calls of each service wait, run, retry, start later and are suspended, and how long are its completed ones kept?
-- row: one service with open calls or recently completed ones
-- cost: scan (the status of every invocation, and every entry of the vqueues)
-- needs: sys_invocation_status, sys_invocation_state
-- :service = none (text) only this service
-- :since = required (time) of the completed ones, only those completed since then
-- with: backing_off
SELECT
  s.target_service_name AS service,
  count(*) FILTER (WHERE s.status = 'inboxed' OR (s.status = 'invoked' AND r.in_flight IS NOT TRUE
    AND coalesce(r.retry_count, 0) = 0 AND b.id IS NULL)) AS waiting,
  count(*) FILTER (WHERE s.status = 'invoked' AND r.in_flight) AS running,
  count(*) FILTER (WHERE s.status = 'invoked' AND r.in_flight IS NOT TRUE
    AND (r.retry_count > 0 OR b.id IS NOT NULL)) AS retrying,
  count(*) FILTER (WHERE s.status = 'scheduled') AS scheduled,
  count(*) FILTER (WHERE s.status = 'suspended') AS suspended,
  min(s.completion_retention) AS completion_retention
FROM backing_off b
RIGHT JOIN (
  sys_invocation_status s
  LEFT JOIN sys_invocation_state r ON r.id = s.id) ON s.id = b.id
WHERE (s.status <> 'completed' OR s.completed_at >= :since) AND (:service IS NULL OR s.target_service_name = :service)
GROUP BY 1
ORDER BY 1
