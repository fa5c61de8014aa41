-- Which attempts have been running for long?
-- row: one attempt that runs, the longest first
-- cost: scan (what the invokers hold)
-- needs: sys_invocation_state
-- :before = required (time) begun before then
-- :limit = required (number) this many rows at most
SELECT id, in_flight, last_start_at
FROM sys_invocation_state
WHERE in_flight AND last_start_at <= :before
ORDER BY last_start_at, id
LIMIT :limit
