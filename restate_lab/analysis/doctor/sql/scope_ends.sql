-- When did a call of these scopes last end?
-- row: one scope with a limit key of which a call has ended since then
-- cost: scan (the status of every invocation)
-- needs: sys_invocation_status.scope
-- :scopes = required (ids) the scopes
-- :since = required (time) only calls that ended since then
SELECT scope, limit_key, max(completed_at) AS last_at
FROM sys_invocation_status
WHERE status = 'completed' AND completed_at >= :since AND scope IN :scopes
GROUP BY scope, limit_key
