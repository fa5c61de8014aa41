-- Which keys of objects, and which queues of a scope, have the most waiting calls?
-- row: one key, or one scope with its limit key, of a service; the most waiting calls first
-- cost: scan (the status of every invocation)
-- needs: sys_invocation_status.scope
-- :service = none (text) only this service
-- :least = required (number) only those with at least this many waiting calls
-- :limit = required (number) maximum number of rows
WITH queued AS (
  SELECT target_service_name AS service, CASE WHEN scope IS NULL THEN target_service_key END AS key, scope, limit_key
  FROM sys_invocation_status
  WHERE status = 'inboxed' AND (:service IS NULL OR target_service_name = :service))
SELECT service, key, scope, limit_key, count(*) AS waiting
FROM queued
WHERE key IS NOT NULL OR scope IS NOT NULL
GROUP BY 1, 2, 3, 4
HAVING count(*) >= :least
ORDER BY waiting DESC, 1, 2, 3, 4
LIMIT :limit
