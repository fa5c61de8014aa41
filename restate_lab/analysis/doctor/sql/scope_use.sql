-- Which scopes have running calls, and when did a call of them last start or end?
-- row: one scope with a limit key; the calls without a scope are one row
-- cost: scan (every entry of the vqueues)
-- needs: feature vqueues, sys_vqueues, sys_vqueue_meta
--
-- A call that is suspended, paused or in a long back-off has no slot and no place in a rule. The queues that are empty
-- have no row, so that last_at can be too early.
SELECT
  m.scope,
  m.limit_key,
  coalesce(sum(r.running), 0) AS running,
  first_value(r.holder_id ORDER BY r.held_since NULLS LAST, m.id) AS holder_id,
  min(r.held_since) AS held_since,
  greatest(max(m.last_start_at), max(m.last_finish_at)) AS last_at
FROM sys_vqueue_meta m
LEFT JOIN (
  SELECT id, count(*) AS running, min(transitioned_at) AS held_since,
    first_value(entry_id ORDER BY transitioned_at, entry_id) AS holder_id
  FROM sys_vqueues
  WHERE stage = 'running' AND entry_kind = 'invocation'
  GROUP BY id) r ON r.id = m.id
GROUP BY m.scope, m.limit_key
ORDER BY running DESC, m.scope, m.limit_key
