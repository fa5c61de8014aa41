-- How many invocations are suspended, how many wait for a key, and what is the total length of all journals?
-- row: one row
-- cost: scan (the status of every invocation)
-- needs: sys_invocation_status
SELECT
  count(CASE WHEN status = 'suspended' THEN 1 END) AS suspended,
  count(CASE WHEN status = 'inboxed' THEN 1 END) AS pending,
  sum(journal_size) AS entries
FROM sys_invocation_status
