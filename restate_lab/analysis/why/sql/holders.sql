-- Which invocations hold these keys?
-- row: one key that is held
-- cost: point (the keys)
-- needs: sys_keyed_service_status
-- :services = required (names) virtual objects
-- :keys = required (names) keys; each is searched in each of the objects
SELECT
  service_name || '/' || service_key AS key,
  CAST(NULL AS VARCHAR) AS scope,
  invocation_id AS holder_id
FROM sys_keyed_service_status
WHERE service_key IN :keys AND service_name IN :services AND invocation_id IS NOT NULL
