-- When do the sleeps end that suspended calls wait for?
-- row: one suspended invocation that waits for a sleep, with the first that ends
-- cost: ids (the journals of these invocations)
-- needs: sys_journal, sys_invocation_status
-- :ids = required (ids) the suspended invocations
-- with: awaited
WITH commands AS (
  SELECT id, appended_at, json_get_int(json_get_json(json_get_json(entry_lite_json, 'Command'), 'Sleep'),
    'completion_id') AS completion_id,
    json_get_int(json_get_json(json_get_json(entry_lite_json, 'Command'), 'Sleep'), 'wake_up_time') AS wakes_ms
  FROM sys_journal
  WHERE id IN :ids AND entry_type = 'Command: Sleep'),
waiting AS (
  SELECT id, CAST(unnest(completions) AS BIGINT) AS completion_id
  FROM awaited
  WHERE id IN :ids AND status = 'suspended'),
sleeps AS (
  SELECT w.id, c.wakes_ms, c.wakes_ms - arrow_cast(c.appended_at, 'Int64') AS length_ms
  FROM waiting w
  JOIN commands c ON c.id = w.id AND c.completion_id = w.completion_id)
SELECT id, min(wakes_ms) AS wakes_ms, first_value(length_ms ORDER BY wakes_ms) AS length_ms
FROM sleeps
GROUP BY id
