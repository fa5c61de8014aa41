-- How many invocations does each handler have, by outcome?
-- row: one handler and outcome; for open invocations the outcome is the status
-- cost: scan (the status of every invocation)
-- needs: sys_invocation_status
WITH outcomes AS (
  SELECT target_service_name, target_handler_name, created_at, journal_size,
    CASE
      WHEN status <> 'completed' THEN status
      WHEN completion_result = 'success' THEN 'succeeded'
      WHEN completion_failure ~ '^\[409( Aborted)?\] ([Kk]illed|[Cc]ancell?ed)$' THEN 'stopped'
      ELSE 'failed' END AS outcome
  FROM sys_invocation_status)
SELECT
  target_service_name,
  target_handler_name,
  outcome,
  count(*) AS n,
  min(created_at) AS first_created_at,
  max(created_at) AS last_created_at,
  sum(journal_size) AS journal_entries
FROM outcomes
GROUP BY target_service_name, target_handler_name, outcome
