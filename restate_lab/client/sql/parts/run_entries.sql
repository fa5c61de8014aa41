-- The entries of steps (Run) and of their results, with the completion_id that both have in common.
-- An archive has it as a column, so that no JSON is parsed.
-- if: journal_entries
SELECT id, entry_type, name, appended_at, completion_id
FROM journal_entries
WHERE entry_type IN ('Command: Run', 'Notification: Run')
-- else
SELECT id, entry_type, name, appended_at, coalesce(
  json_get_int(json_get_json(json_get_json(entry_lite_json, 'Command'), 'Run'), 'completion_id'),
  json_get_int(json_get_json(json_get_json(entry_lite_json, 'Notification'), 'id'), 'CompletionId')) AS completion_id
FROM (
  SELECT id, entry_type, name, appended_at, entry_lite_json
  FROM sys_journal
  WHERE entry_type IN ('Command: Run', 'Notification: Run'))
-- end
