-- With which errors did the invocations of each block of time fail?
-- row: one handler, block (by start) and error, with the number of invocations
-- cost: scan (the status of every invocation)
-- needs: sys_invocation_status
--
-- message is the first line with ids and all numbers as #, as in error_families.
WITH runs AS (
  SELECT target_service_name, target_handler_name, split_part(completion_failure, chr(10), 1) AS line,
    coalesce(CASE WHEN scheduled_at IS NOT NULL THEN scheduled_start_at END, created_at) AS start
  FROM sys_invocation_status
  WHERE status = 'completed' AND completion_result = 'failure'
    AND NOT completion_failure ~ '^\[409( Aborted)?\] ([Kk]illed|[Cc]ancell?ed)$'
    AND (:service IS NULL OR target_service_name = :service)),
errors AS (
  SELECT target_service_name, target_handler_name,
    CAST((arrow_cast(start, 'Int64') - :from_ms) / :block_ms AS BIGINT) AS block,
    regexp_replace(line, '^(\[[0-9]+)[^\]]*(\]).*$', '\1\2') || ' ' || substr(regexp_replace(
      regexp_replace(line, '^\[[0-9]+[^\]]*\] ', ''),
      '\b(inv|dp|sign|prom)_1[0-9A-Za-z]{20,}|\b[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}|[0-9a-fA-F]{8,}|[0-9]+', '#', 'g'),
      1, 200) AS name
  FROM runs
  WHERE start >= :from_time AND start < :until_time
    AND (arrow_cast(start, 'Int64') - :from_ms) % :period_ms < :part_ms)
SELECT
  target_service_name AS service,
  target_handler_name AS handler,
  name,
  block,
  count(*) AS invocations
FROM errors
GROUP BY target_service_name, target_handler_name, name, block
