-- Which invocations back off, or are in their second or a later attempt?
-- row: one invocation, in no order
-- cost: scan (the vqueues' entries and the states of the invokers; if any is retried, also the status of every invocation)
-- needs: open invocations, sys_invocation_state, sys_invocation_status
-- :service = none (text) only this service
-- :handler = none (text) only this handler
-- with: attempts
SELECT s.id, s.target_service_name, s.target_handler_name, s.created_at
FROM attempts r
JOIN sys_invocation_status s ON s.id = r.id
WHERE s.status = 'invoked'
  AND (:service IS NULL OR s.target_service_name = :service)
  AND (:handler IS NULL OR s.target_handler_name = :handler)
