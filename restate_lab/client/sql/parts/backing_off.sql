-- The long back-offs, which only the vqueues have; everywhere else these invocations are ready, without attempts.
-- Join them as the first table, because the server keeps that one in memory, and after all others, so that the scan of
-- the invocations still ends early where the rows are sorted and limited.
-- with: entries
SELECT id, next_at, retry_attempts FROM entries WHERE status = 'backing-off'
