-- How much work did each service do per day?
-- row: one service on one day (UTC), oldest first
-- cost: heavy (the size of every entry of every journal, and the status of every invocation)
-- needs: sys_invocation_status
-- :service = none (text) only this service
-- :since = 30d (time) only days since this time; the first day is whole
-- :limit = 100000 (number) maximum number of rows
--
-- An invocation counts on the day of its end. commands are the entries of its journal without notifications.
-- journal_bytes are those of the journals that are still there; null if none of them is, and on servers that do not
-- report the size of an entry.
-- tokens are those that agents journaled. They are only known in an archive, whose visits read them; agent_spend reads
-- them from the payloads of a live source or of evidence.
WITH journals AS (
  -- if: sys_journal.raw_length
  SELECT id, sum(CAST(raw_length AS BIGINT)) AS bytes
  FROM sys_journal
  GROUP BY id
  -- else
  SELECT id, CAST(NULL AS BIGINT) AS bytes
  FROM sys_invocation_status
  WHERE false
  -- end
),
tokens AS (
  -- if: agent_steps
  SELECT day, service, sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens
  FROM agent_steps
  GROUP BY day, service
  -- else
  SELECT CAST(completed_at AS DATE) AS day, target_service_name AS service, CAST(NULL AS BIGINT) AS input_tokens,
    CAST(NULL AS BIGINT) AS output_tokens
  FROM sys_invocation_status
  WHERE false
  -- end
),
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
  t.input_tokens,
  t.output_tokens
FROM days d
LEFT JOIN tokens t ON t.day = CAST(d.day AS DATE) AND t.service = d.target_service_name
ORDER BY d.day, d.target_service_name
LIMIT :limit
