-- Which calls wait for these keys?
-- row: one pending call, in the order of the queue; waiting is the length of its queue
-- cost: point (the inbox of these keys)
-- needs: sys_inbox
-- :services = required (names) virtual objects
-- :keys = required (names) keys; each is searched in each of the objects
-- :limit = required (number) maximum number of rows
SELECT
  service_name || '/' || service_key AS key,
  CAST(NULL AS VARCHAR) AS scope,
  id,
  sequence_number,
  count(*) OVER (PARTITION BY service_name, service_key) AS waiting,
  service_name,
  service_key
FROM sys_inbox
WHERE service_key IN :keys AND service_name IN :services
ORDER BY sequence_number, id
LIMIT :limit
