-- The invocations that back off, or are in their second or a later attempt, one row per invocation.
-- Short back-offs are in sys_invocation_state; only the vqueues have long ones.
-- with: retried_states, retried_entries
SELECT coalesce(e.id, r.id) AS id,
  CASE WHEN e.retry_attempts > coalesce(r.retry_count, 0) THEN e.retry_attempts ELSE r.retry_count END AS retry_count
FROM retried_states r
FULL JOIN retried_entries e ON e.id = r.id
