-- Which steps are slow, and in which deployment?
-- row: one step (Run) of one handler in one deployment, with exact percentiles in milliseconds; most time first
-- cost: heavy (the structure of every journal, and the status of every invocation)
-- needs: sys_invocation_status, sys_journal
-- :service = none (text) only this service
-- :since = 24h (time) only invocations created since this time
-- :limit = 1000 (number) maximum number of rows
-- with: run_entries
--
-- From the entry of a step to its result, with retries and back-off. Open steps are counted in `open`, and have no
-- duration. In the name of a step, ids and whole numbers are #; digits within a name (step2) are kept.
WITH pairs AS (
  SELECT id, completion_id,
    max(CASE WHEN entry_type = 'Command: Run' THEN name END) AS name,
    max(CASE WHEN entry_type = 'Command: Run' THEN arrow_cast(appended_at, 'Int64') END) AS began,
    max(CASE WHEN entry_type = 'Notification: Run' THEN arrow_cast(appended_at, 'Int64') END) AS ended
  FROM run_entries
  GROUP BY id, completion_id),
steps AS (
  SELECT s.target_service_name, s.target_handler_name, s.pinned_deployment_id AS deployment_id, p.id,
    substr(regexp_replace(p.name,
      '\b(inv|dp|sign|prom)_1[0-9A-Za-z]{20,}|\b[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}|[0-9a-fA-F]{8,}'
        || '|\b[0-9]+(\.[0-9.]+)?\b', '#', 'g'), 1, 200) AS step,
    CAST(p.ended - p.began AS DOUBLE) AS ms
  FROM pairs p
  JOIN sys_invocation_status s ON s.id = p.id
  WHERE p.began IS NOT NULL AND s.created_at >= :since AND (:service IS NULL OR s.target_service_name = :service))
SELECT
  target_service_name,
  target_handler_name,
  step,
  deployment_id,
  count(ms) AS completed,
  count(*) - count(ms) AS open,
  percentile_cont(ms, 0.5) AS p50_ms,
  percentile_cont(ms, 0.900000000000001) AS p90_ms,
  percentile_cont(ms, 0.990000000000001) AS p99_ms,
  max(ms) AS max_ms,
  sum(ms) AS total_ms,
  max(id) AS example_id
FROM steps
GROUP BY target_service_name, target_handler_name, step, deployment_id
ORDER BY total_ms DESC NULLS LAST, 1, 2, 3, 4
LIMIT :limit
