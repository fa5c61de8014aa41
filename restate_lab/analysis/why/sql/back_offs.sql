-- Which of these invocations back off in their vqueues, or were paused while they backed off?
-- row: one invocation
-- cost: point (the entries of these invocations)
-- needs: sys_invocation_status
-- :ids = required (ids) the invocations
-- with: backing_off
SELECT id, next_at AS next_retry_at, CAST(retry_attempts AS BIGINT) AS failed_attempts
FROM backing_off
WHERE id IN :ids
