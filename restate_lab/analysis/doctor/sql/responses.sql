-- To how many invocations have these deployments responded with a result?
-- row: one deployment that has responded since then
-- cost: scan (the status of every invocation)
-- needs: sys_invocation_status
-- :ids = required (text) the ids of the deployments
-- :since = required (time) only invocations that were completed since then
SELECT pinned_deployment_id AS deployment_id, count(*) AS invocations, max(completed_at) AS last_at
FROM sys_invocation_status
WHERE status = 'completed' AND completion_result = 'success' AND completed_at >= :since AND pinned_deployment_id IN :ids
GROUP BY pinned_deployment_id
