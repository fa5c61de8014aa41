-- Which attempts have been running for a long time?
-- row: one running attempt, longest first
-- cost: scan (the state of the invokers)
-- needs: sys_invocation_state
-- :before = required (time) started before then
-- :limit = required (number) maximum number of rows
SELECT id, in_flight, last_start_at
FROM sys_invocation_state
WHERE in_flight AND last_start_at <= :before
ORDER BY last_start_at, id
LIMIT :limit
