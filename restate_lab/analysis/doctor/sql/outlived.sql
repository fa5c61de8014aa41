-- Which completed invocations are still kept after their retention?
-- row: one completed invocation, the first to remove first
-- cost: scan (the status of every invocation)
-- needs: sys_invocation_status
-- :before = required (time) only those whose retention ended before then
-- :limit = required (number) maximum number of rows
SELECT id, status, completed_at, completion_retention
FROM sys_invocation_status
WHERE status = 'completed' AND completed_at + completion_retention < :before
-- if: origins.origin
  AND id IN (SELECT id FROM origins WHERE origin = 'server')
-- else
-- end
ORDER BY completed_at + completion_retention, id
LIMIT :limit
