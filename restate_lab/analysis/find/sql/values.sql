-- Which values does the state of a service have?
-- row: one value, in no order
-- cost: scan (the state of all objects)
-- needs: state.value, state.value_length
-- :service = required (text) the service
-- :most_bytes = required (number) larger values are null
SELECT service_key, key, CASE WHEN value_length <= :most_bytes THEN value END AS value, value_length
FROM state
WHERE service_name = :service
