-- Which journals hold the most bytes?
-- row: one invocation, completed ones included, most bytes first
-- cost: heavy (the size of every entry of every journal, and the status of every invocation)
-- needs: sys_journal.raw_length, sys_invocation_status
-- :limit = 100 (number) maximum number of rows
--
-- raw_status: inboxed, scheduled, invoked, suspended, paused or completed.
WITH sizes AS (
  SELECT id, count(*) AS entries, sum(raw_length) AS bytes, max(raw_length) AS largest_entry_bytes
  FROM sys_journal
  GROUP BY id
  ORDER BY bytes DESC, id
  LIMIT :limit)
SELECT
  s.id,
  s.target,
  s.target_service_name,
  s.target_handler_name,
  s.target_service_key,
  s.status AS raw_status,
  z.bytes,
  z.largest_entry_bytes,
  z.entries,
  s.created_at,
  s.modified_at
FROM sizes z
JOIN sys_invocation_status s ON s.id = z.id
ORDER BY z.bytes DESC, s.id
LIMIT :limit
