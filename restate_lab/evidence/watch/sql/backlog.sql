-- How many calls wait for each key?
-- row: one key with waiting calls, the most waiting calls first
-- cost: scan (the queues)
-- needs: open invocations
-- :service = none (text) only this service
-- :limit = required (number) maximum number of rows
-- with: queued
--
-- A key is "service/key".
SELECT
  service_name AS target_service_name,
  substr(key, length(service_name) + 2) AS target_service_key,
  scope,
  count(*) AS n
FROM queued
WHERE :service IS NULL OR service_name = :service
GROUP BY 1, 2, 3
ORDER BY n DESC, 1, 2, 3
LIMIT :limit
