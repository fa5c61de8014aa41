-- Which keys have the most waiting calls, and since when do they wait?
-- row: one key with waiting calls, the most waiting calls first
-- cost: scan (the inbox; if calls wait, also the status of every invocation)
-- needs: sys_inbox, sys_invocation_status
-- :service = none (text) only this service
-- :limit = 1000 (number) maximum number of rows
SELECT
  i.service_name AS target_service_name,
  i.service_key AS target_service_key,
  CAST(NULL AS VARCHAR) AS scope,
  count(*) AS waiting,
  min(s.inboxed_at) AS oldest_inboxed_at,
  :now - min(s.inboxed_at) AS oldest_wait,
  first_value(s.id ORDER BY s.inboxed_at, s.id) AS oldest_id
FROM sys_inbox i
JOIN sys_invocation_status s ON s.id = i.id AND s.status <> 'completed'
WHERE :service IS NULL OR i.service_name = :service
GROUP BY 1, 2
ORDER BY waiting DESC, 1, 2
LIMIT :limit
