-- What is each suspended invocation waiting for?
-- row: one thing that a suspended invocation waits for: a call, a promise, an awakeable, a sleep or a run
-- cost: scan (the status of every invocation, then the journals of these)
-- needs: sys_invocation_status, sys_journal
-- :service = none (text) only this service
-- :ids = ids_by_status(status=suspended) (ids) these invocations; by default the 10,000 suspended for longest
-- :limit = 100000 (number) this many rows at most
--
-- waits_for is the command's name (Call, Sleep, GetPromise, Run, ...), Awakeable for signals from 17 on, Signal for
-- others, which have no number where they have a name; Unknown where the journal has no such command any more. Signal
-- 1, cancellation, is always awaited and left out. Who waits for several things, or their first, has a row for each.
WITH waiting AS (
  SELECT id, target, target_service_name, target_handler_name, target_service_key, modified_at, created_at,
    invoked_by_id, suspended_waiting_for_completions, suspended_waiting_for_signals
  FROM sys_invocation_status
  WHERE id IN :ids AND status = 'suspended' AND (:service IS NULL OR target_service_name = :service)),
commands AS (
  SELECT id, index AS entry_index, replace(entry_type, 'Command: ', '') AS entry_type, name,
    CASE entry_type
      WHEN 'Command: Call'
        THEN json_get_int(json_get_json(json_get_json(entry_lite_json, 'Command'), 'Call'), 'result_completion_id')
      WHEN 'Command: Sleep'
        THEN json_get_int(json_get_json(json_get_json(entry_lite_json, 'Command'), 'Sleep'), 'completion_id')
      WHEN 'Command: Run'
        THEN json_get_int(json_get_json(json_get_json(entry_lite_json, 'Command'), 'Run'), 'completion_id')
      WHEN 'Command: GetPromise'
        THEN json_get_int(json_get_json(json_get_json(entry_lite_json, 'Command'), 'GetPromise'), 'completion_id')
      WHEN 'Command: PeekPromise'
        THEN json_get_int(json_get_json(json_get_json(entry_lite_json, 'Command'), 'PeekPromise'), 'completion_id')
      WHEN 'Command: CompletePromise'
        THEN json_get_int(json_get_json(json_get_json(entry_lite_json, 'Command'), 'CompletePromise'), 'completion_id')
      WHEN 'Command: AttachInvocation'
        THEN json_get_int(json_get_json(json_get_json(entry_lite_json, 'Command'), 'AttachInvocation'), 'completion_id')
      WHEN 'Command: GetInvocationOutput'
        THEN json_get_int(json_get_json(json_get_json(entry_lite_json, 'Command'), 'GetInvocationOutput'),
          'completion_id')
      WHEN 'Command: GetLazyState'
        THEN json_get_int(json_get_json(json_get_json(entry_lite_json, 'Command'), 'GetLazyState'), 'completion_id')
      WHEN 'Command: GetLazyStateKeys'
        THEN json_get_int(json_get_json(json_get_json(entry_lite_json, 'Command'), 'GetLazyStateKeys'), 'completion_id')
      END AS completion_id,
    coalesce(
      json_get_str(json_get_json(json_get_json(entry_lite_json, 'Command'), 'Call'), 'invocation_id'),
      json_get_str(json_get_json(json_get_json(json_get_json(entry_lite_json, 'Command'), 'AttachInvocation'),
        'target'), 'InvocationId'),
      json_get_str(json_get_json(json_get_json(json_get_json(entry_lite_json, 'Command'), 'GetInvocationOutput'),
        'target'), 'InvocationId')) AS callee_id,
    coalesce(
      json_get_str(json_get_json(json_get_json(entry_lite_json, 'Command'), 'GetPromise'), 'key'),
      json_get_str(json_get_json(json_get_json(entry_lite_json, 'Command'), 'PeekPromise'), 'key'),
      json_get_str(json_get_json(json_get_json(entry_lite_json, 'Command'), 'CompletePromise'), 'key')) AS promise,
    to_timestamp_millis(json_get_int(json_get_json(json_get_json(entry_lite_json, 'Command'), 'Sleep'),
      'wake_up_time')) AS wakes_at
  FROM sys_journal
  WHERE id IN :ids AND entry_type LIKE 'Command: %'),
awaited AS (
  SELECT w.id, c.entry_index, coalesce(c.entry_type, 'Unknown') AS waits_for, c.name, c.callee_id, c.promise,
    c.wakes_at, CAST(NULL AS BIGINT) AS signal
  FROM (SELECT id, CAST(unnest(suspended_waiting_for_completions) AS BIGINT) AS completion_id FROM waiting) w
  LEFT JOIN commands c ON c.id = w.id AND c.completion_id = w.completion_id
  UNION ALL
  SELECT id, NULL AS entry_index, CASE WHEN signal >= 17 THEN 'Awakeable' ELSE 'Signal' END AS waits_for, NULL AS name,
    NULL AS callee_id, NULL AS promise, NULL AS wakes_at, signal
  FROM (SELECT id, CAST(unnest(suspended_waiting_for_signals) AS BIGINT) AS signal FROM waiting)
  WHERE signal <> 1)
SELECT
  w.id,
  w.target,
  w.target_service_name,
  w.target_handler_name,
  w.target_service_key,
  coalesce(a.waits_for, 'Signal') AS waits_for,
  a.name,
  a.callee_id,
  a.promise,
  a.signal,
  a.wakes_at,
  a.entry_index,
  w.modified_at AS waiting_since,
  :now - w.modified_at AS waiting_for,
  w.created_at,
  w.invoked_by_id
FROM waiting w
LEFT JOIN awaited a ON a.id = w.id
ORDER BY w.modified_at, w.id, a.entry_index, a.signal
LIMIT :limit
