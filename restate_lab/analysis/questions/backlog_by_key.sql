-- Which keys have the most waiting calls, and since when do they wait?
-- row: one key with waiting calls, the most waiting calls first
-- cost: scan (the queues; if calls wait, also the status of every invocation)
-- needs: open invocations, sys_invocation_status
-- :service = none (text) only this service
-- :limit = 1000 (number) maximum number of rows
-- with: queued
SELECT
  s.target_service_name,
  s.target_service_key,
  q.scope,
  count(*) AS waiting,
  min(s.inboxed_at) AS oldest_inboxed_at,
  :now - min(s.inboxed_at) AS oldest_wait,
  first_value(s.id ORDER BY s.inboxed_at, s.id) AS oldest_id
FROM queued q
JOIN sys_invocation_status s ON s.id = q.id AND s.status <> 'completed'
WHERE :service IS NULL OR q.service_name = :service
GROUP BY 1, 2, 3
ORDER BY waiting DESC, 1, 2, 3
LIMIT :limit
