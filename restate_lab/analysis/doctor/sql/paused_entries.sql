-- Which calls are in these paused vqueues?
-- row: one call that has not started or waits for its next attempt, the one that is due first
-- cost: scan (the entries of the vqueues, and the status of every invocation)
-- needs: feature vqueues, sys_vqueues, sys_invocation_status
-- :ids = required (ids) the vqueues
-- :limit = required (number) maximum number of rows
SELECT
  q.id AS vqueue_id,
  q.entry_id,
  s.target_service_name,
  s.target_handler_name,
  s.status,
  greatest(q.run_at, q.transitioned_at) AS since
FROM sys_vqueues q
JOIN sys_invocation_status s ON s.id = q.entry_id
WHERE q.id IN :ids AND q.stage = 'inbox'
ORDER BY greatest(q.run_at, q.transitioned_at), q.entry_id
LIMIT :limit
