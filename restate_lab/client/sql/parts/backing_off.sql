-- The long back-offs, which only the vqueues have; everywhere else these invocations are ready, without attempts.
-- with: entries
SELECT id, next_at, retry_attempts FROM entries WHERE status = 'backing-off'
