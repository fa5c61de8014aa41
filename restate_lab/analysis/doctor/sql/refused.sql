-- Which invocations failed because their deployment has a service protocol that the server no longer has?
-- row: one failed invocation that was not restarted as new, in no order
-- cost: scan (the status of every invocation, twice)
-- needs: sys_invocation_status
-- :limit = required (number) maximum number of rows
SELECT
  s.id,
  s.target_service_name,
  s.target_handler_name,
  s.target_service_ty,
  s.completed_at,
  s.status,
  substr(split_part(s.completion_failure, chr(10), 1), 1, 400) AS failure
FROM sys_invocation_status s
LEFT JOIN (
  SELECT restarted_from
  FROM sys_invocation_status
  WHERE restarted_from IS NOT NULL
  GROUP BY restarted_from) r ON r.restarted_from = s.id
WHERE s.status = 'completed' AND s.completion_failure LIKE '%is exposed by the deprecated deployment %'
  AND r.restarted_from IS NULL
LIMIT :limit
