-- Which invocations are suspended, and on what numbers?
-- row: one suspended invocation, the one suspended for longest first
-- cost: scan (the status of every invocation)
-- needs: sys_invocation_status
-- :limit = required (number) this many rows at most
--
-- What is filtered is selected too: 1.6.1 compares with the wrong column otherwise.
SELECT id, status, target, modified_at, created_at, invoked_by_id,
  suspended_waiting_for_completions AS completions, suspended_waiting_for_signals AS signals
FROM sys_invocation_status
WHERE status = 'suspended'
ORDER BY modified_at, id
LIMIT :limit
