-- Which awakeables are invocations waiting for?
-- row: one awakeable that a suspended invocation waits for, longest first
-- cost: scan (the status of every invocation)
-- needs: open invocations, sys_invocation_status
-- with: awaited
-- :service = none (text) only this service
-- :older_than = 0s (duration) only awakeables awaited for at least this time
-- :limit = 10000 (number) maximum number of rows
--
-- signal is the awakeable's number in the invocation; the first one is 17. The tables have no record of an awakeable
-- before the invocation waits for it.
SELECT
  id,
  target,
  target_service_name,
  target_handler_name,
  target_service_key,
  signal,
  modified_at AS waiting_since,
  :now - modified_at AS waiting_for,
  created_at,
  invoked_by_id
FROM (
  SELECT id, target, target_service_name, target_handler_name, target_service_key, modified_at, created_at,
    invoked_by_id, CAST(unnest(signals) AS BIGINT) AS signal
  FROM awaited
  WHERE status = 'suspended' AND modified_at <= :now - :older_than
    AND (:service IS NULL OR target_service_name = :service))
WHERE signal >= 17
ORDER BY modified_at, id, signal
LIMIT :limit
