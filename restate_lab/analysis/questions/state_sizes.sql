-- How large is the state of each service and key?
-- row: one key of a virtual object or workflow that has state, most bytes first
-- cost: heavy (every value of every state)
-- needs: state
-- :service = none (text) only this service
-- :limit = 1000 (number) maximum number of rows
--
-- bytes is the size of the values and their names; service_bytes is the total of all keys of a service.
WITH sizes AS (
  SELECT service_name, service_key,
    -- if: state.scope
    scope,
    -- else
    CAST(NULL AS VARCHAR) AS scope,
    -- end
    count(*) AS entries,
    sum(value_length + key_length) AS bytes, max(value_length) AS largest_value_bytes,
    first_value(key ORDER BY value_length DESC, key) AS largest_value_name
  FROM state
  WHERE :service IS NULL OR service_name = :service
  GROUP BY 1, 2, 3)
SELECT
  service_name,
  service_key,
  scope,
  bytes,
  entries,
  largest_value_bytes,
  largest_value_name,
  sum(bytes) OVER (PARTITION BY service_name) AS service_bytes,
  count(*) OVER (PARTITION BY service_name) AS service_keys
FROM sizes
ORDER BY bytes DESC, service_name, service_key
LIMIT :limit
