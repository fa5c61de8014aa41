-- The last errors of these invocations, where only the events of their journals have them.
-- with: attempts
-- if: sys_journal_events, sys_vqueue_entry_status
SELECT e.id, last_value(e.event_json ORDER BY e.appended_at, e.after_journal_entry_index) AS event_json,
  max(e.appended_at) AS appended_at
FROM (SELECT id FROM attempts WHERE last_failure IS NULL) a
JOIN sys_journal_events e ON e.id = a.id
WHERE e.event_type = 'TransientError'
GROUP BY e.id
-- else
SELECT id, CAST(NULL AS VARCHAR) AS event_json, created_at AS appended_at FROM sys_invocation_status WHERE false
-- end
