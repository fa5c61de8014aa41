-- The same entries as retried_entries, each with its last error, which only the events of its journal have.
-- with: retried_entries
-- if: sys_journal_events, sys_vqueue_entry_status
SELECT q.id AS entry_id, q.retry_attempts, q.next_at, q.deployment, max(e.appended_at) AS last_event_at,
  last_value(e.event_json ORDER BY e.appended_at, e.after_journal_entry_index) AS last_event
FROM retried_entries q
LEFT JOIN sys_journal_events e ON e.id = q.id AND e.event_type = 'TransientError'
GROUP BY q.id, q.retry_attempts, q.next_at, q.deployment
-- else
SELECT id AS entry_id, retry_attempts, next_at, deployment, CAST(NULL AS VARCHAR) AS last_event, next_at AS last_event_at
FROM retried_entries
-- end
