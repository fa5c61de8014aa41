-- What is each suspended invocation waiting for?
-- row: one call, promise, awakeable, sleep or run that a suspended invocation waits for
-- cost: scan (the status of every invocation, then the journals of suspended ones)
-- needs: open invocations, sys_invocation_status, sys_journal
-- with: awaited
-- :service = none (text) only this service
-- :ids = ids_by_status(status=suspended) (ids) only these invocations; default: the 10,000 suspended longest
-- :limit = 100000 (number) maximum number of rows
--
-- waits_for is the command's name (Call, Sleep, GetPromise, Run, ...), Awakeable for signals from 17 on, Signal for
-- others (a named signal has no number), or Unknown if the journal no longer has the command. Signal 1 (cancel) is
-- always awaited and is excluded. An invocation that waits for several results, or for the first of them, has one row
-- per result. Planning is slow for long lists of ids, so each table and the list occur only once in this statement. For
-- this, the awaited results are combined to one text ("c2 s17": completion 2, signal 17) and split again; "s" is a
-- signal without a number.
WITH waiting AS (
  SELECT id, target, target_service_name, target_handler_name, target_service_key, modified_at, created_at,
    invoked_by_id, unnest(string_to_array(coalesce(nullif(ltrim(
      coalesce(' c' || nullif(array_to_string(completions, ' c'), ''), '')
      || coalesce(' s' || nullif(array_to_string(array_remove(signals, arrow_cast(1, 'UInt32')),
        ' s'), ''), '')), ''), 's'), ' ')) AS thing
  FROM awaited
  WHERE id IN :ids AND status = 'suspended' AND (:service IS NULL OR target_service_name = :service)),
things AS (
  SELECT id, target, target_service_name, target_handler_name, target_service_key, modified_at, created_at,
    invoked_by_id, starts_with(thing, 'c') AS is_completion, CAST(nullif(substr(thing, 2), '') AS BIGINT) AS number
  FROM waiting),
bodies AS (
  SELECT id, index AS entry_index, replace(entry_type, 'Command: ', '') AS entry_type, name,
    json_get_json(json_get_json(entry_lite_json, 'Command'), replace(entry_type, 'Command: ', '')) AS body
  FROM sys_journal
  WHERE id IN :ids AND entry_type LIKE 'Command: %'),
commands AS (
  SELECT id, entry_index, entry_type, name, body,
    coalesce(json_get_int(body, 'result_completion_id'), json_get_int(body, 'completion_id')) AS completion_id
  FROM bodies)
SELECT
  w.id,
  w.target,
  w.target_service_name,
  w.target_handler_name,
  w.target_service_key,
  CASE
    WHEN w.is_completion THEN coalesce(c.entry_type, 'Unknown')
    WHEN w.number >= 17 THEN 'Awakeable'
    ELSE 'Signal' END AS waits_for,
  c.name,
  coalesce(json_get_str(c.body, 'invocation_id'),
    json_get_str(json_get_json(c.body, 'target'), 'InvocationId')) AS callee_id,
  CASE WHEN c.entry_type LIKE '%Promise' THEN json_get_str(c.body, 'key') END AS promise,
  CASE WHEN NOT w.is_completion THEN w.number END AS signal,
  arrow_cast(json_get_int(c.body, 'wake_up_time'), 'Timestamp(Millisecond, Some("+00:00"))') AS wakes_at,
  c.entry_index,
  w.modified_at AS waiting_since,
  :now - w.modified_at AS waiting_for,
  w.created_at,
  w.invoked_by_id
FROM things w
LEFT JOIN commands c ON c.id = w.id AND w.is_completion AND c.completion_id = w.number
ORDER BY w.modified_at, w.id, c.entry_index, signal
LIMIT :limit
