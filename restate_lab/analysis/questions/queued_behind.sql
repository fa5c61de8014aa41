-- What is before a waiting call in its queue?
-- row: one call before it in the same queue: first those that run or hold its key, then those that wait, in order
-- cost: scan (every entry of the vqueues)
-- needs: feature vqueues, sys_vqueues, sys_vqueue_meta, sys_scheduler, sys_locks, sys_invocation_status
-- :id = required (text) the waiting call
-- :limit = 1000 (number) maximum number of rows
--
-- position is 0 for calls that run or hold the key, and counts the others from the head. Only the head has a blocked_on,
-- the resource that it waits for. Calls of other queues that use the same limit are not listed: see the question limits.
WITH own AS (
  SELECT id AS vqueue_id, run_at, sequence_number
  FROM sys_vqueues
  WHERE entry_id = :id AND stage = 'inbox'),
same AS (
  SELECT q.id AS vqueue_id, q.entry_id, q.stage, q.status, q.has_lock, q.run_at, q.sequence_number, q.transitioned_at,
    q.num_attempts
  FROM own
  JOIN sys_vqueues q ON q.id = own.vqueue_id
  WHERE q.entry_kind = 'invocation' AND q.entry_id <> :id AND q.stage IN ('inbox', 'running', 'suspended', 'paused')
    AND (q.stage <> 'inbox' OR q.has_lock OR q.run_at < own.run_at
      OR (q.run_at = own.run_at AND q.sequence_number < own.sequence_number))),
holders AS (
  SELECT l.acquired_by AS entry_id
  FROM own
  JOIN sys_vqueue_meta m ON m.id = own.vqueue_id
  JOIN sys_locks l ON l.lock_name = m.lock_name AND l.scope IS NOT DISTINCT FROM m.scope
  WHERE l.acquired_by LIKE 'inv%'),
before AS (
  SELECT CASE WHEN stage = 'inbox' AND NOT has_lock THEN 1 ELSE 0 END AS is_waiting, vqueue_id, entry_id, stage, status,
    run_at, sequence_number, transitioned_at, num_attempts
  FROM same
  UNION ALL
  SELECT 0 AS is_waiting, NULL AS vqueue_id, h.entry_id, NULL AS stage, NULL AS status, NULL AS run_at,
    NULL AS sequence_number, NULL AS transitioned_at, NULL AS num_attempts
  FROM holders h
  LEFT JOIN same s ON s.entry_id = h.entry_id
  WHERE s.entry_id IS NULL)
SELECT
  CASE WHEN b.is_waiting = 0 THEN 0
    ELSE row_number() OVER (PARTITION BY b.is_waiting ORDER BY b.run_at, b.sequence_number) END AS position,
  b.entry_id AS id,
  s.target,
  s.target_service_name,
  s.target_handler_name,
  s.target_service_key,
  b.stage,
  b.status AS entry_status,
  b.num_attempts,
  b.transitioned_at AS waiting_since,
  c.blocked_on,
  c.blocked_on_json
FROM before b
LEFT JOIN sys_scheduler c ON c.id = b.vqueue_id AND c.head_entry_id = b.entry_id
LEFT JOIN sys_invocation_status s ON s.id = b.entry_id
ORDER BY position, b.sequence_number, id
LIMIT :limit
