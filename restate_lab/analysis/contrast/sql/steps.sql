-- Which steps (Run) did these invocations begin, and how did their waits end?
-- row: one step, or one result, in no order
-- cost: point (the structure of the journals of these invocations)
-- needs: sys_journal
-- :ids = required (ids) the invocations
SELECT
  id,
  index AS entry_index,
  entry_type,
  name,
  coalesce(
    json_get_int(json_get_json(json_get_json(entry_lite_json, 'Command'), 'Run'), 'completion_id'),
    json_get_int(json_get_json(json_get_json(entry_lite_json, 'Notification'), 'id'), 'CompletionId')) AS completion_id,
  json_get_str(json_get_json(entry_lite_json, 'Notification'), 'result') AS result
FROM sys_journal
WHERE id IN :ids AND (entry_type IN ('Command: Input', 'Command: Run') OR entry_type LIKE 'Notification:%')
