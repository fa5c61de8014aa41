-- Which of these invocations are suspended, and which completions and signals do they wait for?
-- row: one suspended invocation
-- cost: point (the status of these invocations)
-- needs: sys_invocation_status
-- with: awaited
-- :ids = required (ids) the invocations
SELECT id, status, target, modified_at, created_at, invoked_by_id, completions, signals
FROM awaited
WHERE id IN :ids AND status = 'suspended'
