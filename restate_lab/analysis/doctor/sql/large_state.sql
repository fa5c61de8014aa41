-- Which keys of virtual objects and workflows have a large state?
-- row: one key, most bytes first
-- cost: scan (the length of every value of every state)
-- needs: state
-- :bytes = required (number) minimum size of all values of the key
-- :limit = required (number) maximum number of rows
SELECT service_name, service_key,
  -- if: state.scope
  scope,
  -- else
  CAST(NULL AS VARCHAR) AS scope,
  -- end
  sum(value_length) AS bytes, count(*) AS entries
FROM state
GROUP BY 1, 2, 3
HAVING sum(value_length) >= :bytes
ORDER BY bytes DESC, service_name, service_key
LIMIT :limit
