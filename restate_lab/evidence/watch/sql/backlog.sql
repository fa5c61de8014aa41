-- How many calls wait for each key?
-- row: one key with waiting calls, the most waiting calls first
-- cost: scan (the inbox)
-- needs: sys_inbox
-- :service = none (text) only this service
-- :limit = required (number) maximum number of rows
SELECT
  service_name AS target_service_name,
  service_key AS target_service_key,
  CAST(NULL AS VARCHAR) AS scope,
  count(*) AS n
FROM sys_inbox
WHERE :service IS NULL OR service_name = :service
GROUP BY 1, 2
ORDER BY n DESC, 1, 2
LIMIT :limit
