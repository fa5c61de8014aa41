-- Which invocations continue by themselves in the next hour?
-- row: one time at which an invocation continues by itself: a sleep ends, or a delayed invocation or a retry starts
-- cost: scan (the status of every invocation, every entry of the vqueues, then the journals of suspended ones)
-- needs: open invocations, sys_invocation_status, sys_invocation_state, sys_journal
-- with: backing_off, awaited
-- :service = none (text) only this service
-- :until = 1h (time ahead) only times before this time
-- :ids = ids_by_status(status=suspended) (ids) only sleeps of these invocations; default: the 10,000 suspended longest
-- :limit = 10000 (number) maximum number of rows
--
-- event is sleep, start or retry. Times in the past are included: these wake-ups are late.
-- Servers return scheduled_start_at only if scheduled_at is also selected.
WITH commands AS (
  SELECT id, name, json_get_int(json_get_json(json_get_json(entry_lite_json, 'Command'), 'Sleep'),
    'completion_id') AS completion_id,
    to_timestamp_millis(json_get_int(json_get_json(json_get_json(entry_lite_json, 'Command'), 'Sleep'),
      'wake_up_time')) AS wakes_at
  FROM sys_journal
  WHERE id IN :ids AND entry_type = 'Command: Sleep'),
waiting AS (
  SELECT id, CAST(unnest(completions) AS BIGINT) AS completion_id
  FROM awaited
  WHERE id IN :ids AND status = 'suspended'),
wakes AS (
  SELECT w.id, 'sleep' AS event, arrow_cast(c.wakes_at, 'Timestamp(Millisecond, Some("+00:00"))') AS wakes_at, c.name
  FROM waiting w
  JOIN commands c ON c.id = w.id AND c.completion_id = w.completion_id
  UNION ALL
  SELECT id, 'start' AS event, scheduled_start_at AS wakes_at, CAST(NULL AS VARCHAR) AS name
  FROM sys_invocation_status
  WHERE status = 'scheduled' AND scheduled_at IS NOT NULL AND scheduled_start_at <= :until
  UNION ALL
  SELECT id, 'retry' AS event, next_retry_at AS wakes_at, CAST(NULL AS VARCHAR) AS name
  FROM sys_invocation_state
  WHERE next_retry_at IS NOT NULL
  UNION ALL
  SELECT id, 'retry' AS event, next_at AS wakes_at, CAST(NULL AS VARCHAR) AS name
  FROM backing_off)
SELECT
  k.wakes_at,
  k.event,
  s.id,
  s.target,
  s.target_service_name,
  s.target_handler_name,
  s.target_service_key,
  k.name,
  k.wakes_at - :now AS wakes_in
FROM wakes k
JOIN sys_invocation_status s ON s.id = k.id
WHERE k.wakes_at <= :until AND s.status <> 'completed' AND (k.event <> 'retry' OR s.status = 'invoked') AND (:service IS NULL OR s.target_service_name = :service)
ORDER BY k.wakes_at, s.id
LIMIT :limit
