-- Which invocations were restarted from this invocation?
-- row: one invocation
-- cost: scan (the status of the invocations of one partition)
-- needs: sys_invocation_status.restarted_from
-- :id = required (text) the earlier invocation
-- :partition = required (number) its partition key, which a restart keeps
SELECT
  id,
  created_at,
  partition_key,
  restarted_from
FROM sys_invocation_status
WHERE partition_key = :partition AND restarted_from = :id
