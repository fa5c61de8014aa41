-- How many calls wait, are stuck, began and ended?
-- row: one service, split by some keys and scopes
-- cost: scan (the status of every invocation, twice, every entry of the vqueues, and the held keys)
-- needs: sys_invocation_status.scope, sys_invocation_state
-- :service = none (text) only this service
-- :keys = required (ids) the keys with rows of their own
-- :scopes = required (ids) the scopes with rows of their own
-- :since = required (time) the beginning of the window
-- :recent = required (time) a call is stuck if what it waits for has not moved since then
-- :now = required (time) the end of the window
-- with: backing_off, holders, queued
--
-- Stuck calls wait in a paused queue, behind a key that one call has held since then, or for a limit under which no call
-- has started or ended since then. Their arrivals are counted apart. A delayed call begins at its time and not at its
-- creation. Servers return scheduled_start_at only if scheduled_at is also selected.
WITH moved AS (
  SELECT DISTINCT scope, split_part(limit_key, '/', 1) AS l1, split_part(limit_key, '/', 2) AS l2
  FROM sys_invocation_status
  WHERE scope IS NOT NULL AND (running_at > :recent OR completed_at > :recent)),
obstacles AS (
  SELECT q.id, 'held' AS obstacle
  FROM holders h
  JOIN sys_invocation_status c ON c.id = h.holder_id AND c.running_at <= :recent
  JOIN queued q ON q.key = h.key AND q.scope IS NOT DISTINCT FROM h.scope
  -- if: sys_vqueue_meta, sys_vqueues, sys_scheduler
  UNION ALL
  SELECT q.entry_id AS id, 'paused' AS obstacle
  FROM sys_vqueue_meta m
  JOIN sys_vqueues q ON q.id = m.id
  WHERE m.queue_is_paused AND q.stage = 'inbox' AND q.status <> 'scheduled' AND q.entry_kind = 'invocation'
  UNION ALL
  SELECT q.entry_id AS id, 'full' AS obstacle
  FROM (
    SELECT c.id, m.scope,
      CASE WHEN json_get_str(c.blocked_on_json, 'blocked_level') = 'scope' THEN NULL
        ELSE split_part(m.limit_key, '/', 1) END AS l1,
      CASE WHEN json_get_str(c.blocked_on_json, 'blocked_level') = 'level2'
        THEN split_part(m.limit_key, '/', 2) END AS l2
    FROM sys_scheduler c
    JOIN sys_vqueue_meta m ON m.id = c.id
    WHERE c.status = 'blocked' AND c.blocked_on = 'limit-key-concurrency') b
  JOIN sys_vqueues q ON q.id = b.id
  LEFT JOIN moved o ON o.scope = b.scope AND (b.l1 IS NULL OR o.l1 = b.l1) AND (b.l2 IS NULL OR o.l2 = b.l2)
  WHERE o.scope IS NULL AND q.stage = 'inbox' AND q.status <> 'scheduled' AND q.entry_kind = 'invocation'
  -- else
  -- end
),
stuck AS (
  SELECT id, max(obstacle) AS obstacle
  FROM obstacles
  GROUP BY id),
calls AS (
  SELECT s.target_service_name AS service, s.scheduled_at, s.completed_at, s.completion_retention,
    CASE WHEN s.scope IS NULL AND s.target_service_key IN :keys THEN s.target_service_key END AS key,
    CASE WHEN s.scope IN :scopes THEN s.scope END AS scope,
    CASE WHEN s.scope IN :scopes THEN s.limit_key END AS limit_key,
    CASE WHEN s.scheduled_at IS NOT NULL THEN s.scheduled_start_at ELSE s.created_at END AS began_at,
    s.status = 'inboxed' OR (s.status = 'invoked' AND r.in_flight IS NOT TRUE AND coalesce(r.retry_count, 0) = 0
      AND b.id IS NULL) AS is_waiting,
    k.obstacle
  FROM backing_off b
  RIGHT JOIN (
    sys_invocation_status s
    LEFT JOIN sys_invocation_state r ON r.id = s.id
    LEFT JOIN stuck k ON k.id = s.id) ON s.id = b.id
  WHERE (s.status <> 'completed' OR s.completed_at > :since) AND (:service IS NULL OR s.target_service_name = :service))
SELECT
  service,
  key,
  scope,
  limit_key,
  count(*) FILTER (WHERE is_waiting) AS waiting,
  count(*) FILTER (WHERE is_waiting AND obstacle = 'held') AS behind_keys,
  count(*) FILTER (WHERE is_waiting AND obstacle = 'paused') AS in_paused,
  count(*) FILTER (WHERE is_waiting AND obstacle = 'full') AS under_limits,
  count(*) FILTER (WHERE is_waiting AND obstacle IS NOT NULL AND began_at > :since AND began_at <= :now) AS stuck_arrivals,
  count(*) FILTER (WHERE began_at > :since AND began_at <= :now AND NOT (is_waiting AND obstacle IS NOT NULL)) AS arrivals,
  count(*) FILTER (WHERE completed_at > :since AND completed_at <= :now) AS ends,
  max(completed_at) AS last_completed_at,
  min(completion_retention) AS completion_retention
FROM calls
GROUP BY 1, 2, 3, 4
ORDER BY 1, 2, 3, 4
