-- Which handlers have invocations, and for how long are they kept?
-- row: one handler, with its shortest retentions in milliseconds
-- cost: scan (the status of every invocation)
-- needs: sys_invocation_status
SELECT
  target_service_name AS service,
  target_handler_name AS handler,
  min(arrow_cast(completion_retention, 'Int64')) AS completion_ms,
  min(arrow_cast(journal_retention, 'Int64')) AS journal_ms
FROM sys_invocation_status
WHERE status = 'completed' AND (:service IS NULL OR target_service_name = :service)
GROUP BY target_service_name, target_handler_name
