-- How many invocations are in vqueues, and how many must a migration still move?
-- row: one kind of invocations: whether they are in no vqueue, and whether they have ended
-- cost: scan (the status of every invocation)
-- needs: sys_invocation_status
WITH everybody AS (
  SELECT
-- if: sys_invocation_status.vqueue_id
    vqueue_id IS NULL AS legacy,
-- else
    true AS legacy,
-- end
    status = 'completed' AS ended,
    CASE WHEN status = 'completed' THEN completed_at + completion_retention END AS expires_at
  FROM sys_invocation_status)
SELECT legacy, ended, count(*) AS invocations, max(expires_at) AS last_expires_at
FROM everybody
GROUP BY legacy, ended
ORDER BY legacy, ended
