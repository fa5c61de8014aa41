-- Which invocations are in this raw status, longest first?
-- row: one invocation, the one unmoved for longest first
-- cost: scan (the status of every invocation)
-- needs: sys_invocation_status
-- :status = required (text) inboxed, scheduled, invoked, suspended, paused or completed
-- :service = none (text) only this service
-- :limit = 10000 (number) this many rows at most
--
-- The first step of questions whose details come cheaply by id, and dearly by a scan. What is filtered is selected too:
-- 1.6.1 holds the threshold of ORDER BY … LIMIT against the wrong column where a filtered one is dropped before.
SELECT id, status AS raw_status, modified_at
FROM sys_invocation_status
WHERE status = :status AND (:service IS NULL OR target_service_name = :service)
ORDER BY modified_at, id
LIMIT :limit
