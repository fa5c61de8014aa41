-- Which responses of models are in the archive?
-- row: one response of a model in a run of an agent
-- cost: scan (the archive's table of responses, and the status of every invocation)
-- needs: agent_steps, sys_invocation_status
-- :since = required (time) only runs that were created since this time
-- :service = none (text) only this service
SELECT a.id, a.service, a.handler, a.framework, a.model, a.input_tokens, a.cached_tokens, a.output_tokens,
  a.reasoning_tokens, CAST(coalesce(cardinality(a.tool_names), 0) AS BIGINT) AS tool_calls, a.appended_at, s.created_at,
  s.completion_result = 'failure'
    AND NOT s.completion_failure ~ '^\[409( Aborted)?\] [Cc]ancell?ed$' AS is_wasteful
FROM agent_steps a
JOIN sys_invocation_status s ON s.id = a.id
WHERE s.created_at >= :since AND (:service IS NULL OR a.service = :service)
ORDER BY a.id, a.index
