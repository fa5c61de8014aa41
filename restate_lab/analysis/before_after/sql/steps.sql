-- How long did the steps of each block of time take?
-- row: one step of a handler, block (by the invocation's start) and logarithm of the duration (in steps of 1 %)
-- cost: heavy (the structure of every journal, and the status of every invocation)
-- needs: sys_invocation_status, sys_journal
-- with: run_entries
--
-- From the entry of a Run to its result. A step without a result has the time since its entry if its invocation is open;
-- otherwise it has no row. In names, ids and whole numbers are #, as in slow_steps.
WITH pairs AS (
  SELECT id, completion_id,
    max(CASE WHEN entry_type = 'Command: Run' THEN name END) AS name,
    max(CASE WHEN entry_type = 'Command: Run' THEN arrow_cast(appended_at, 'Int64') END) AS began,
    max(CASE WHEN entry_type = 'Notification: Run' THEN arrow_cast(appended_at, 'Int64') END) AS ended
  FROM run_entries
  GROUP BY id, completion_id),
runs AS (
  SELECT id, target_service_name, target_handler_name, status,
    coalesce(CASE WHEN scheduled_at IS NOT NULL THEN scheduled_start_at END, created_at) AS start
  FROM sys_invocation_status
  WHERE :service IS NULL OR target_service_name = :service),
steps AS (
  SELECT s.target_service_name, s.target_handler_name,
    substr(regexp_replace(p.name,
      '\b(inv|dp|sign|prom)_1[0-9A-Za-z]{20,}|\b[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}|[0-9a-fA-F]{8,}'
        || '|\b[0-9]+(\.[0-9.]+)?\b', '#', 'g'), 1, 200) AS name,
    CAST((arrow_cast(s.start, 'Int64') - :from_ms) / :block_ms AS BIGINT) AS block,
    p.ended IS NULL AS is_open,
    coalesce(p.ended, :now_ms) - p.began AS ms
  FROM pairs p
  JOIN runs s ON s.id = p.id
  WHERE p.began IS NOT NULL AND (p.ended IS NOT NULL OR s.status <> 'completed')
    AND s.start >= :from_time AND s.start < :until_time
    AND (arrow_cast(s.start, 'Int64') - :from_ms) % :period_ms < :part_ms),
bins AS (
  SELECT target_service_name, target_handler_name, name, block, is_open,
    CAST(round(100 * ln(CAST(CASE WHEN ms < 1 THEN 1 ELSE ms END AS DOUBLE))) AS BIGINT) AS bin
  FROM steps)
SELECT
  target_service_name AS service,
  target_handler_name AS handler,
  name,
  block,
  is_open,
  bin,
  count(*) AS steps
FROM bins
GROUP BY target_service_name, target_handler_name, name, block, is_open, bin
