-- Which invocations are in this raw status, longest first?
-- row: one invocation, the one without progress for the longest time first
-- cost: scan (the status of every invocation)
-- needs: open invocations, sys_invocation_status
-- :status = required (text) inboxed, scheduled, invoked, suspended, paused or completed
-- :service = none (text) only this service
-- :limit = 10000 (number) maximum number of rows
--
-- The first read of questions whose details are cheap to read by id and expensive to scan.
SELECT id, status AS raw_status, modified_at
FROM sys_invocation_status
WHERE status = :status AND (:service IS NULL OR target_service_name = :service)
ORDER BY modified_at, id
LIMIT :limit
