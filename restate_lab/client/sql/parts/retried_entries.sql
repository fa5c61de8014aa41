-- The invocations in the vqueues that back off, or are in their second or a later attempt, one row per invocation.
-- with: entries
SELECT id, retry_attempts, CASE WHEN stage = 'inbox' THEN next_at END AS next_at, deployment
FROM entries
WHERE status = 'backing-off' OR (stage = 'running' AND retry_attempts > 1)
