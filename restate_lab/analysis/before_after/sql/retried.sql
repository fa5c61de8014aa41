-- How many invocations of each block of time had a failed attempt?
-- row: one handler and block (by start), with the number of invocations
-- cost: heavy (every event of the journals, and the status of every invocation)
-- needs: sys_invocation_status, sys_journal_events
--
-- Servers can record equal errors once, so attempts are not counted, but the invocations that had any.
WITH retried AS (
  SELECT DISTINCT id
  FROM sys_journal_events
  WHERE event_type = 'TransientError'),
runs AS (
  SELECT id, target_service_name, target_handler_name,
    coalesce(CASE WHEN scheduled_at IS NOT NULL THEN scheduled_start_at END, created_at) AS start
  FROM sys_invocation_status
  WHERE :service IS NULL OR target_service_name = :service),
blocks AS (
  SELECT s.target_service_name, s.target_handler_name,
    CAST((arrow_cast(s.start, 'Int64') - :from_ms) / :block_ms AS BIGINT) AS block
  FROM runs s
  JOIN retried r ON r.id = s.id
  WHERE s.start >= :from_time AND s.start < :until_time
    AND (arrow_cast(s.start, 'Int64') - :from_ms) % :period_ms < :part_ms)
SELECT
  target_service_name AS service,
  target_handler_name AS handler,
  block,
  count(*) AS invocations
FROM blocks
GROUP BY target_service_name, target_handler_name, block
