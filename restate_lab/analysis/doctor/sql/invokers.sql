-- How many invocations hold a slot of an invoker?
-- row: one row with the number of invocations that run or are retried
-- cost: scan (the state of the invokers)
-- needs: sys_invocation_state
SELECT count(*) AS busy
FROM sys_invocation_state
WHERE in_flight OR retry_count > 0
