-- Which queues have waiting calls, how long do they wait, and for what?
-- row: one queue with open calls: a service with its scope, limit key and lock; the oldest wait first
-- cost: scan (the open entries of the vqueues, and the scheduler's queues)
-- needs: feature vqueues, sys_vqueues, sys_vqueue_meta, sys_scheduler
-- :service = none (text) only queues of this service
-- :scope = none (text) only queues of this scope
-- :limit = 1000 (number) maximum number of rows
--
-- Each call without a key and a scope has a vqueue of its own, so that queues are grouped by what their calls share.
-- num_inbox of the server also counts scheduled calls, so that the entries are counted. A holder of the lock that backs
-- off is in the inbox, too, and does not wait for the lock. A call between two attempts is backing_off and not waiting:
-- nothing blocks it before next_attempt_at. With a list of stages, the server does not read the others: retained calls,
-- which have finished, cost nothing.
-- The shares are those of the time that the heads of the vqueues have been blocked for each reason; NULL without any.
WITH entries AS (
  SELECT id,
    count(*) FILTER (WHERE stage = 'inbox' AND status NOT IN ('scheduled', 'backing-off') AND NOT has_lock) AS waiting,
    count(*) FILTER (WHERE stage = 'inbox' AND status = 'backing-off' AND NOT has_lock) AS backing_off,
    min(CASE WHEN stage = 'inbox' AND status = 'backing-off' AND NOT has_lock THEN run_at END) AS next_attempt_at,
    count(*) FILTER (WHERE stage = 'inbox' AND status = 'scheduled') AS scheduled,
    count(*) FILTER (WHERE stage = 'running' OR (stage = 'inbox' AND has_lock AND status <> 'scheduled')) AS running,
    count(*) FILTER (WHERE stage = 'suspended') AS suspended,
    count(*) FILTER (WHERE stage = 'paused') AS paused,
    min(CASE WHEN stage = 'inbox' AND status NOT IN ('scheduled', 'backing-off') AND NOT has_lock
      THEN coalesce(first_runnable_at, created_at) END) AS oldest_runnable_at,
    first_value(entry_id ORDER BY coalesce(first_runnable_at, created_at), sequence_number)
      FILTER (WHERE stage = 'inbox' AND status NOT IN ('scheduled', 'backing-off') AND NOT has_lock) AS oldest_id
  FROM sys_vqueues
  WHERE stage IN ('inbox', 'running', 'suspended', 'paused') AND entry_kind = 'invocation'
  GROUP BY id),
heads AS (
  SELECT id, blocked_on, json_get_str(blocked_on_json, 'blocked_rule') AS blocked_rule,
    CAST(arrow_cast(lock_block_duration, 'Int64') AS DOUBLE) AS lock_ms,
    CAST(arrow_cast(concurrency_rules_block_duration, 'Int64') AS DOUBLE) AS rules_ms,
    CAST(arrow_cast(invoker_concurrency_block_duration, 'Int64') AS DOUBLE) AS slots_ms,
    CAST(arrow_cast(invoker_memory_block_duration, 'Int64') AS DOUBLE) AS memory_ms,
    CAST(arrow_cast(deployment_concurrency_block_duration, 'Int64') AS DOUBLE) AS deployment_ms,
    CAST(arrow_cast(invoker_throttling_block_duration, 'Int64') AS DOUBLE)
      + CAST(arrow_cast(throttling_rules_block_duration, 'Int64') AS DOUBLE) AS throttling_ms
  FROM sys_scheduler
  WHERE status = 'blocked'),
grouped AS (
  SELECT
    m.service_name,
    m.scope,
    m.limit_key,
    m.lock_name,
    count(*) AS vqueues,
    sum(e.waiting) AS waiting,
    sum(e.backing_off) AS backing_off,
    min(e.next_attempt_at) AS next_attempt_at,
    sum(e.scheduled) AS scheduled,
    sum(e.running) AS running,
    sum(e.suspended) AS suspended,
    sum(e.paused) AS paused,
    bool_or(m.queue_is_paused) AS is_paused,
    min(CASE WHEN m.queue_is_paused THEN m.id END) AS paused_vqueue_id,
    min(e.oldest_runnable_at) AS oldest_runnable_at,
    first_value(e.oldest_id ORDER BY e.oldest_runnable_at NULLS LAST, m.id) AS oldest_id,
    first_value(h.blocked_on ORDER BY h.blocked_on IS NULL, e.oldest_runnable_at NULLS LAST, m.id) AS blocked_on,
    first_value(h.blocked_rule ORDER BY h.blocked_on IS NULL, e.oldest_runnable_at NULLS LAST, m.id) AS blocked_rule,
    sum(h.lock_ms) AS lock_ms,
    sum(h.rules_ms) AS rules_ms,
    sum(h.slots_ms) AS slots_ms,
    sum(h.memory_ms) AS memory_ms,
    sum(h.deployment_ms) AS deployment_ms,
    sum(h.throttling_ms) AS throttling_ms,
    sum(h.lock_ms + h.rules_ms + h.slots_ms + h.memory_ms + h.deployment_ms + h.throttling_ms) AS blocked_ms
  FROM entries e
  JOIN sys_vqueue_meta m ON m.id = e.id
  LEFT JOIN heads h ON h.id = e.id
  WHERE (:service IS NULL OR m.service_name = :service) AND (:scope IS NULL OR m.scope = :scope)
  GROUP BY 1, 2, 3, 4)
SELECT
  service_name AS target_service_name,
  scope,
  limit_key,
  lock_name,
  vqueues,
  waiting,
  backing_off,
  next_attempt_at,
  scheduled,
  running,
  suspended,
  paused,
  is_paused,
  paused_vqueue_id,
  CASE WHEN is_paused AND waiting > 0 AND blocked_on IS NULL THEN 'queue paused' ELSE blocked_on END AS blocked_on,
  blocked_rule,
  oldest_runnable_at,
  :now - oldest_runnable_at AS oldest_wait,
  oldest_id,
  CASE WHEN blocked_ms > 0 THEN lock_ms / blocked_ms END AS lock_share,
  CASE WHEN blocked_ms > 0 THEN rules_ms / blocked_ms END AS rules_share,
  CASE WHEN blocked_ms > 0 THEN slots_ms / blocked_ms END AS slots_share,
  CASE WHEN blocked_ms > 0 THEN memory_ms / blocked_ms END AS memory_share,
  CASE WHEN blocked_ms > 0 THEN deployment_ms / blocked_ms END AS deployment_share,
  CASE WHEN blocked_ms > 0 THEN throttling_ms / blocked_ms END AS throttling_share
FROM grouped
ORDER BY oldest_runnable_at NULLS LAST, waiting DESC, 1, scope, limit_key, lock_name
LIMIT :limit
