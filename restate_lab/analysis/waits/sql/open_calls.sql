-- Which calls of the running ones of these invocations have no result yet?
-- row: one call
-- cost: point (the journals of these invocations)
-- needs: sys_journal, sys_invocation_state, sys_invocation_status
-- :ids = required (ids) the possible callers
--
-- A running invocation that waits is suspended only after its inactivity timeout, by default a minute.
WITH calls AS (
  SELECT id, appended_at,
    json_get_str(json_get_json(json_get_json(entry_lite_json, 'Command'), 'Call'), 'invocation_id') AS callee_id,
    json_get_int(json_get_json(json_get_json(entry_lite_json, 'Command'), 'Call'),
      'result_completion_id') AS completion_id
  FROM sys_journal
  WHERE id IN :ids AND entry_type = 'Command: Call'),
results AS (
  SELECT id, json_get_int(json_get_json(json_get_json(entry_lite_json, 'Notification'), 'id'),
    'CompletionId') AS completion_id
  FROM sys_journal
  WHERE id IN :ids AND entry_type = 'Notification: Call')
SELECT
  c.id,
  s.target,
  c.callee_id,
  c.appended_at AS since,
  s.created_at,
  s.invoked_by_id
FROM calls c
JOIN sys_invocation_state r ON r.id = c.id
JOIN sys_invocation_status s ON s.id = c.id
LEFT JOIN results d ON d.id = c.id AND d.completion_id = c.completion_id
WHERE d.id IS NULL AND r.in_flight AND s.status = 'invoked'
