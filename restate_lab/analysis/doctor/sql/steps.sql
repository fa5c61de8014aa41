-- How long did the steps (Run) of these invocations take?
-- row: one step name
-- cost: point (the journals of these invocations)
-- needs: sys_journal
-- :ids = required (ids) the invocations
WITH begun AS (
  SELECT id, name, appended_at,
    json_get_int(json_get_json(json_get_json(entry_lite_json, 'Command'), 'Run'), 'completion_id') AS completion_id
  FROM sys_journal
  WHERE id IN :ids AND entry_type = 'Command: Run'),
done AS (
  SELECT id, appended_at,
    json_get_int(json_get_json(json_get_json(entry_lite_json, 'Notification'), 'id'), 'CompletionId') AS completion_id
  FROM sys_journal
  WHERE id IN :ids AND entry_type = 'Notification: Run'),
steps AS (
  SELECT b.name, arrow_cast(d.appended_at, 'Int64') - arrow_cast(b.appended_at, 'Int64') AS ms
  FROM begun b
  JOIN done d ON d.id = b.id AND d.completion_id = b.completion_id)
SELECT name, count(*) AS steps, sum(ms) AS ms
FROM steps
GROUP BY name
ORDER BY ms DESC, name
