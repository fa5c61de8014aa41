-- How many invocations do the invokers hold?
-- row: one, with the number of those that run or are tried again
-- cost: scan (what the invokers hold)
-- needs: sys_invocation_state
SELECT count(*) AS busy
FROM sys_invocation_state
WHERE in_flight OR retry_count > 0
