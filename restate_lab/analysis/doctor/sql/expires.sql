-- When does the cluster delete the journal, or else the record, of these ended invocations?
-- row: one invocation that has ended; one that an archive has is not deleted
-- cost: point (the status of these invocations)
-- needs: sys_invocation_status
-- :ids = required (ids) the invocations
SELECT
  id,
  completed_at
    + CASE WHEN journal_size > 0 THEN least(journal_retention, completion_retention) ELSE completion_retention END
    AS expires_at
FROM sys_invocation_status
-- if: origins.origin
JOIN (SELECT id AS run_id, origin FROM origins WHERE origin = 'server') ON run_id = id
-- else
-- end
WHERE status = 'completed' AND id IN :ids
