-- Which idempotency keys were used for the same handler under several object keys?
-- row: one idempotency key and handler, in no order
-- cost: scan (the status of every invocation)
-- needs: sys_invocation_status
-- :limit = required (number) this many rows at most
--
-- One key for several services is how many systems name an order; one for several objects of the same handler is how
-- something is booked twice. Two ids are enough: a list for each key would be the server's memory. Since 1.7 the server
-- makes a key (a ULID) for every call that comes without one; what looks like these is left out, as grouping so many
-- unique keys costs more than all other checks.
WITH keyed AS (
  SELECT id, idempotency_key, target_service_name, target_handler_name, created_at
  FROM sys_invocation_status
  WHERE idempotency_key IS NOT NULL AND target_service_key IS NOT NULL
    AND (character_length(idempotency_key) <> 26 OR NOT idempotency_key ~ '^[0-7][0-9A-HJKMNP-TV-Z]{25}$'))
SELECT idempotency_key, target_service_name, target_handler_name, count(*) AS n, min(created_at) AS first_created_at,
  min(id) AS one_id, max(id) AS other_id
FROM keyed
GROUP BY idempotency_key, target_service_name, target_handler_name
HAVING count(*) > 1
LIMIT :limit
