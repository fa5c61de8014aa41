-- Which idempotency keys were used for the same handler under several object keys?
-- row: one idempotency key and handler, in no order
-- cost: scan (the status of every invocation)
-- needs: sys_invocation_status
-- :limit = required (number) maximum number of rows
--
-- Many systems use one key, such as an order number, for several services. One key for several objects of the same
-- handler can mean that an operation runs twice. Two ids per key are enough: a list of all ids would need much server
-- memory. Since 1.7 the server creates a key (a ULID) for every call without one. Keys that look like a ULID are
-- excluded, because grouping so many unique keys costs more than all other checks.
WITH keyed AS (
  SELECT id, idempotency_key, target_service_name, target_handler_name, created_at
  FROM sys_invocation_status
  WHERE idempotency_key IS NOT NULL AND target_service_key IS NOT NULL
    AND (character_length(idempotency_key) <> 26 OR NOT idempotency_key ~ '^[0-7][0-9A-HJKMNP-TV-Z]{25}$'))
SELECT idempotency_key, target_service_name, target_handler_name, count(*) AS invocations,
  min(created_at) AS first_created_at, min(id) AS one_id, max(id) AS other_id
FROM keyed
GROUP BY idempotency_key, target_service_name, target_handler_name
HAVING count(*) > 1
LIMIT :limit
