-- When did the first and the last of the invocations end that throughput counts?
-- row: the times; null if no invocation ended
-- cost: scan (the status of every invocation)
-- needs: sys_invocation_status
SELECT
  min(completed_at) AS first_at,
  max(completed_at) AS last_at
FROM sys_invocation_status
WHERE status = 'completed' AND completed_at >= :since AND (:service IS NULL OR target_service_name = :service)
