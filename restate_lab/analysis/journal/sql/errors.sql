-- Which errors of attempts and other events are recorded for this invocation?
-- row: one error, the pause that followed it, or an event of another type; equal errors in a row are recorded once
-- cost: point (the events of one invocation)
-- needs: sys_journal_events
-- :id = required (id) the invocation
SELECT
  id,
  event_type,
  appended_at,
  after_journal_entry_index,
  event_json
FROM sys_journal_events
WHERE id = :id AND event_type <> 'Suspended'
