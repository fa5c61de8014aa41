-- How much work did each service do per day?
-- row: one service on one day (UTC), oldest first
-- cost: heavy (the size of every entry of every journal, and the status of every invocation)
-- needs: sys_invocation_status, sys_journal.raw_length
-- :service = none (text) only this service
-- :since = 30d (time) only days since this time; the first day is whole
-- :limit = 100000 (number) maximum number of rows
--
-- An invocation counts on the day of its end. commands are the entries of its journal without notifications.
-- journal_bytes are those of the journals that are still there; null if none of them is.
-- tokens are those that agents journaled. They are only known in an archive, whose visits read them; agent_spend reads
-- them from the payloads of a live source or of evidence.
WITH journals AS (
  SELECT id, sum(CAST(raw_length AS BIGINT)) AS bytes
  FROM sys_journal
  GROUP BY id),
ended AS (
  SELECT s.id, date_bin(INTERVAL '1 day', s.completed_at) AS day, s.target_service_name, s.journal_commands_size
  FROM sys_invocation_status s
  WHERE s.status = 'completed' AND s.completed_at >= date_bin(INTERVAL '1 day', :since)
    AND (:service IS NULL OR s.target_service_name = :service)),
days AS (
  SELECT e.day, e.target_service_name, count(*) AS invocations, sum(CAST(e.journal_commands_size AS BIGINT)) AS commands,
    sum(j.bytes) AS journal_bytes
  FROM ended e
  LEFT JOIN journals j ON j.id = e.id
  GROUP BY e.day, e.target_service_name)
SELECT
  d.day,
  d.target_service_name,
  d.invocations,
  d.commands,
  d.journal_bytes,
  CAST(NULL AS BIGINT) AS input_tokens,
  CAST(NULL AS BIGINT) AS output_tokens
FROM days d
ORDER BY d.day, d.target_service_name
LIMIT :limit
