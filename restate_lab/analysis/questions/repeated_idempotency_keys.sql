-- Which idempotency keys were used by several invocations?
-- row: one idempotency key of several retained invocations, the most invocations first
-- cost: scan (the status of every invocation)
-- needs: sys_invocation_status
-- :service = none (text) only this service
-- :limit = 1000 (number) maximum number of rows
--
-- An idempotency key is valid per handler and object key. The same key sent to the same target returns the first
-- invocation; sent to another target, it starts a second invocation, which is usually unintended.
WITH repeated AS (
  SELECT idempotency_key
  FROM sys_invocation_status
  WHERE idempotency_key IS NOT NULL AND (:service IS NULL OR target_service_name = :service)
  GROUP BY idempotency_key
  HAVING count(*) > 1),
keyed AS (
  SELECT s.id, s.target, s.idempotency_key, s.created_at
  FROM repeated k
  JOIN sys_invocation_status s ON s.idempotency_key = k.idempotency_key
  WHERE :service IS NULL OR s.target_service_name = :service)
SELECT
  idempotency_key,
  count(*) AS invocations,
  count(DISTINCT target) AS targets,
  first_value(id ORDER BY created_at, id) AS first_id,
  first_value(target ORDER BY created_at, id) AS first_target,
  last_value(id ORDER BY created_at, id) AS last_id,
  last_value(target ORDER BY created_at, id) AS last_target,
  min(created_at) AS first_created_at,
  max(created_at) AS last_created_at
FROM keyed
GROUP BY idempotency_key
ORDER BY invocations DESC, last_created_at DESC, idempotency_key
LIMIT :limit
