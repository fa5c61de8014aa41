-- How many calls wait for which key?
-- row: one key on which calls wait, most waiting first
-- cost: scan (the inbox)
-- needs: sys_inbox
-- :service = none (text) only this service
-- :limit = required (number) this many rows at most
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
