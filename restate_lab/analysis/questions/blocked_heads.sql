-- Why is the head of this queue not running?
-- row: one vqueue whose first entry waits for a resource, is backing off, or is paused; the longest wait first
-- cost: scan (the scheduler's queues)
-- needs: feature vqueues, sys_scheduler, sys_vqueue_meta, sys_vqueues, sys_locks, sys_invocation_status
-- :service = none (text) only queues of this service
-- :limit = 1000 (number) maximum number of rows
--
-- Heads that are scheduled for later are normal and excluded, and so are heads that started very recently.
-- A paused queue has no scheduler.
WITH heads AS (
  SELECT id, status, head_entry_id, scheduled_at, blocked_on, blocked_on_json, num_inbox,
    lock_block_duration,
    concurrency_rules_block_duration,
    deployment_concurrency_block_duration,
    invoker_concurrency_block_duration,
    invoker_throttling_block_duration,
    invoker_memory_block_duration,
    throttling_rules_block_duration
  FROM sys_scheduler
  UNION ALL
  SELECT m.id, 'paused' AS status, first_value(q.entry_id ORDER BY q.run_at, q.sequence_number) AS head_entry_id,
    NULL AS scheduled_at, 'queue paused' AS blocked_on, NULL AS blocked_on_json, min(m.num_inbox) AS num_inbox,
    NULL AS lock_block_duration,
    NULL AS concurrency_rules_block_duration,
    NULL AS deployment_concurrency_block_duration,
    NULL AS invoker_concurrency_block_duration,
    NULL AS invoker_throttling_block_duration,
    NULL AS invoker_memory_block_duration,
    NULL AS throttling_rules_block_duration
  FROM sys_vqueue_meta m
  LEFT JOIN sys_vqueues q ON q.id = m.id AND q.stage = 'inbox'
  LEFT JOIN sys_scheduler c ON c.id = m.id
  WHERE m.queue_is_paused AND m.num_inbox > 0 AND c.id IS NULL
  GROUP BY m.id)
SELECT
  c.id AS vqueue_id,
  c.head_entry_id AS id,
  s.target,
  s.target_service_name,
  s.target_handler_name,
  s.target_service_key,
  m.lock_name,
  m.scope,
  m.limit_key,
  coalesce(c.blocked_on, q.status) AS blocked_on,
  c.blocked_on_json,
  l.acquired_by AS lock_holder_id,
  c.scheduled_at,
  c.num_inbox,
  q.transitioned_at AS waiting_since,
  c.lock_block_duration,
  c.concurrency_rules_block_duration,
  c.deployment_concurrency_block_duration,
  c.invoker_concurrency_block_duration,
  c.invoker_throttling_block_duration,
  c.invoker_memory_block_duration,
  c.throttling_rules_block_duration
FROM heads c
LEFT JOIN sys_vqueue_meta m ON m.id = c.id
LEFT JOIN sys_vqueues q ON q.id = c.id AND q.entry_id = c.head_entry_id AND q.stage = 'inbox'
LEFT JOIN sys_invocation_status s ON s.id = c.head_entry_id
LEFT JOIN sys_locks l ON l.lock_name = m.lock_name AND l.scope IS NOT DISTINCT FROM m.scope
WHERE c.num_inbox > 0
  AND (c.status IN ('blocked', 'paused') OR q.status <> 'scheduled')
  AND (:service IS NULL OR m.service_name = :service)
ORDER BY q.transitioned_at, c.id
LIMIT :limit
