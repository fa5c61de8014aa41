-- Which invocations are suspended, and which completions and signals do they wait for?
-- row: one suspended invocation, longest suspended first
-- cost: scan (the status of every invocation)
-- needs: sys_invocation_status
-- with: awaited
-- :limit = required (number) maximum number of rows
SELECT id, target, modified_at, created_at, invoked_by_id, completions, signals
FROM awaited
WHERE status = 'suspended'
ORDER BY modified_at, id
LIMIT :limit
