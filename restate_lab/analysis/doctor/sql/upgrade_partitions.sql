-- How many completed invocations of each partition are not in a vqueue?
-- row: one partition with such invocations, the largest first
-- cost: scan (the status of every invocation)
-- needs: sys_invocation_status.partition_key
-- :partitions = required (number) the number of partitions; each has an equal range of the keys, in their order
SELECT
  least(CAST(CAST(partition_key AS DOUBLE) / 18446744073709551616.0 * :partitions AS BIGINT), :partitions - 1)
    AS "partition",
  count(*) AS invocations
FROM sys_invocation_status
WHERE status = 'completed'
-- if: sys_invocation_status.vqueue_id
  AND vqueue_id IS NULL
-- else
-- end
GROUP BY 1
ORDER BY invocations DESC, 1
