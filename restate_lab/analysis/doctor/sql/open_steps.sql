-- Which steps (Run) of these invocations have begun and not ended?
-- row: one step, the longest first
-- cost: point (the journals of these invocations)
-- needs: sys_journal
-- :ids = required (ids) the invocations
-- :before = required (time) begun before then
WITH begun AS (
  SELECT id, name, appended_at,
    json_get_int(json_get_json(json_get_json(entry_lite_json, 'Command'), 'Run'), 'completion_id') AS completion_id
  FROM sys_journal
  WHERE id IN :ids AND entry_type = 'Command: Run' AND appended_at <= :before),
done AS (
  SELECT id,
    json_get_int(json_get_json(json_get_json(entry_lite_json, 'Notification'), 'id'), 'CompletionId') AS completion_id
  FROM sys_journal
  WHERE id IN :ids AND entry_type = 'Notification: Run')
SELECT b.id, b.name, b.appended_at
FROM begun b
LEFT JOIN done d ON d.id = b.id AND d.completion_id = b.completion_id
WHERE d.id IS NULL
ORDER BY b.appended_at, b.id
