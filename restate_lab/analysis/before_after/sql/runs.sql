-- How long did the invocations of each block of time take?
-- row: one handler, block (by start), end and logarithm of the duration (in steps of 1 %), with the number of invocations
-- cost: scan (the status of every invocation)
-- needs: sys_invocation_status
--
-- An open invocation has the time since its start. A delayed invocation starts at its planned time.
-- Servers return scheduled_start_at only if scheduled_at is also selected.
WITH runs AS (
  SELECT target_service_name, target_handler_name, status, completion_result, completion_failure, completed_at,
    coalesce(CASE WHEN scheduled_at IS NOT NULL THEN scheduled_start_at END, created_at) AS start
  FROM sys_invocation_status
  WHERE :service IS NULL OR target_service_name = :service),
ages AS (
  SELECT target_service_name, target_handler_name,
    CASE
      WHEN status <> 'completed' THEN 'open'
      WHEN completion_result = 'success' THEN 'succeeded'
      WHEN completion_failure ~ '^\[409( Aborted)?\] ([Kk]illed|[Cc]ancell?ed)$' THEN 'stopped'
      ELSE 'failed' END AS outcome,
    (arrow_cast(start, 'Int64') - :from_ms) / :block_ms AS block,
    CASE WHEN status = 'completed' THEN arrow_cast(completed_at, 'Int64') ELSE :now_ms END - arrow_cast(start, 'Int64')
      AS ms
  FROM runs
  WHERE start >= :from_time AND start < :until_time
    AND (arrow_cast(start, 'Int64') - :from_ms) % :period_ms < :part_ms),
bins AS (
  SELECT target_service_name, target_handler_name, outcome, CAST(block AS BIGINT) AS block,
    CAST(round(100 * ln(CAST(CASE WHEN ms < 1 THEN 1 ELSE ms END AS DOUBLE))) AS BIGINT) AS bin
  FROM ages)
SELECT
  target_service_name AS service,
  target_handler_name AS handler,
  block,
  outcome,
  bin,
  count(*) AS invocations
FROM bins
GROUP BY target_service_name, target_handler_name, block, outcome, bin
