-- How many delayed calls of each service start in each of the next minutes?
-- row: one service and minute; minute 0 is the next one, and calls that should have started are in it, too
-- cost: scan (the status of every invocation)
-- needs: sys_invocation_status
-- :service = none (text) only this service
-- :until = required (time) the last minute
-- :now_ms = required (number) the time that minutes are counted from, in milliseconds
SELECT
  service,
  minute,
  count(*) AS scheduled
FROM (
  SELECT target_service_name AS service, scheduled_at,
    greatest((arrow_cast(scheduled_start_at, 'Int64') - :now_ms) / 60000, 0) AS minute
  FROM sys_invocation_status
  WHERE status = 'scheduled' AND scheduled_at IS NOT NULL AND scheduled_start_at < :until
    AND (:service IS NULL OR target_service_name = :service))
GROUP BY 1, 2
ORDER BY 1, 2
