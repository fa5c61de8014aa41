-- Which journals hold the most bytes?
-- row: one invocation, completed ones included, most bytes first
-- cost: heavy (the size of every entry of every journal, and the status of every invocation)
-- needs: sys_journal, sys_invocation_status
-- :limit = 100 (number) maximum number of rows
--
-- raw_status: inboxed, scheduled, invoked, suspended, paused or completed. On a server that does not report the size
-- of an entry, bytes are estimated from the number of commas in entry_json, which is slightly too high for each entry.
WITH entries AS (
  -- if: sys_journal.raw_length
  SELECT id, raw_length AS bytes
  FROM sys_journal
  -- else
  SELECT id, coalesce(
    octet_length(CAST(entry_json AS VARCHAR)) - octet_length(replace(CAST(entry_json AS VARCHAR), ',', '')),
    octet_length(CAST(encode(raw, 'hex') AS VARCHAR)) / 2) AS bytes
  FROM sys_journal
  -- end
),
sizes AS (
  SELECT id, count(*) AS entries, sum(bytes) AS bytes, max(bytes) AS largest_entry_bytes
  FROM entries
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
