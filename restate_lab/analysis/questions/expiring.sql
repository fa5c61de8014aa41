-- Which journals and records expire soon?
-- row: one completed invocation whose journal or record expires soon; the soonest first
-- cost: scan (the status of every invocation)
-- needs: open invocations, sys_invocation_status
-- :service = none (text) only this service
-- :until = 1h (time ahead) only times before this time
-- :failures_only = yes (flag) only invocations that did not succeed
-- :limit = 10000 (number) maximum number of rows
--
-- journal_expires_at is null if no journal is kept; at expires_at the whole record is deleted. An
-- archived invocation does not expire.
WITH ended AS (
  SELECT s.id, s.target, s.target_service_name, s.target_handler_name, s.target_service_key,
  CASE
    WHEN s.completion_result = 'success' THEN 'succeeded'
    WHEN s.completion_failure ~ '^\[409( Aborted)?\] [Kk]illed$' THEN 'killed'
    WHEN s.completion_failure ~ '^\[409( Aborted)?\] [Cc]ancell?ed$' THEN 'cancelled'
    ELSE 'failed' END AS status,
    s.completed_at,
    s.completed_at + s.completion_retention AS expires_at,
    CASE WHEN s.journal_size > 0 THEN s.completed_at + least(s.journal_retention, s.completion_retention) END
      AS journal_expires_at
  FROM sys_invocation_status s
  WHERE s.status = 'completed' AND (:service IS NULL OR s.target_service_name = :service)
    AND (NOT :failures_only OR s.completion_result = 'failure')
-- if: origins.origin
    AND s.id IN (SELECT id FROM origins WHERE origin = 'server')
-- else
-- end
  )
SELECT
  id,
  target,
  target_service_name,
  target_handler_name,
  target_service_key,
  status,
  completed_at,
  journal_expires_at,
  expires_at,
  coalesce(journal_expires_at, expires_at) - :now AS expires_in
FROM ended
WHERE coalesce(journal_expires_at, expires_at) <= :until
ORDER BY coalesce(journal_expires_at, expires_at), id
LIMIT :limit
