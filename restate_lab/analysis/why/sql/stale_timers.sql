-- Which timers of an earlier invocation with this id have fired into this one?
-- row: one row
-- cost: point (the journal of one invocation)
-- needs: sys_journal
-- :id = required (id) the invocation
--
-- The end of a sleep belongs to another invocation if this one has no such sleep, or if its sleep was to last longer.
-- Servers fire timers by their own clock, and leaders can differ by less than a second.
SELECT count(*) AS timers, min(e.appended_at) AS since
FROM (
  SELECT appended_at,
    json_get_int(json_get_json(json_get_json(entry_lite_json, 'Notification'), 'id'), 'CompletionId') AS completion_id
  FROM sys_journal
  WHERE id = :id AND entry_type = 'Notification: Sleep') e
LEFT JOIN (
  SELECT json_get_int(json_get_json(json_get_json(entry_lite_json, 'Command'), 'Sleep'), 'completion_id')
      AS completion_id,
    json_get_int(json_get_json(json_get_json(entry_lite_json, 'Command'), 'Sleep'), 'wake_up_time') AS wake_up_time
  FROM sys_journal
  WHERE id = :id AND entry_type = 'Command: Sleep') c ON c.completion_id = e.completion_id
WHERE c.completion_id IS NULL OR arrow_cast(e.appended_at, 'Int64') < c.wake_up_time - 1000
