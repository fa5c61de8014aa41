-- How many invocations are there?
-- row: one row with the count
-- cost: scan (the status of every invocation)
-- needs: sys_invocation_status
SELECT count(*) AS n
FROM sys_invocation_status
