-- How many invocations are suspended, how many wait for a key, and how long are all journals together?
-- row: one
-- cost: scan (the status of every invocation)
-- needs: sys_invocation_status
SELECT
  count(CASE WHEN status = 'suspended' THEN 1 END) AS suspended,
  count(CASE WHEN status = 'inboxed' THEN 1 END) AS pending,
  sum(journal_size) AS entries
FROM sys_invocation_status
