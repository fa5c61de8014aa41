-- Which keys are hot: how many calls wait on each, and since when?
-- row: one key on which calls wait, most waiting first
-- cost: scan (the inbox; where calls wait, the status of every invocation)
-- needs: sys_inbox, sys_invocation_status
-- :service = none (text) only this service
-- :limit = 1000 (number) this many rows at most
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
