-- Which limits exist, and which scopes and limit keys use how much of each?
-- row: one counter of a rule (a scope, or a scope with a limit key), or a rule that nothing uses; the fullest first
-- cost: scan (the rules, their counters, the scheduler's queues, and every entry of the vqueues)
-- needs: feature vqueues, sys_rules, sys_user_limits, sys_scheduler, sys_vqueue_meta, sys_vqueues
-- :above = 0 (percent) only counters above this usage; 80 for those that are nearly full
-- :limit = 1000 (number) maximum number of rows
--
-- num_waiters of the server counts queues. Here, waiting is the number of calls in the queues whose head is blocked by
-- this rule, with the same scope and limit key; calls that are scheduled for later do not count. A counter of a removed
-- rule has the rule "[removed]"; one without a rule has no limit and is not listed.
WITH blocked AS (
  SELECT json_get_str(c.blocked_on_json, 'blocked_rule') AS rule, m.scope,
    CASE WHEN json_get_str(c.blocked_on_json, 'blocked_level') = 'scope' THEN NULL
      ELSE split_part(m.limit_key, '/', 1) END AS l1,
    CASE WHEN json_get_str(c.blocked_on_json, 'blocked_level') = 'level2'
      THEN split_part(m.limit_key, '/', 2) END AS l2,
    c.id AS vqueue_id, c.concurrency_rules_block_duration AS blocked_for
  FROM sys_scheduler c
  JOIN sys_vqueue_meta m ON m.id = c.id
  WHERE c.status = 'blocked' AND c.blocked_on = 'limit-key-concurrency'),
waits AS (
  SELECT b.rule, b.scope, b.l1, b.l2, count(*) AS waiting, count(DISTINCT b.vqueue_id) AS queues,
    max(b.blocked_for) AS blocked_for
  FROM blocked b
  JOIN sys_vqueues q ON q.id = b.vqueue_id
  WHERE q.stage = 'inbox' AND q.status <> 'scheduled'
  GROUP BY 1, 2, 3, 4)
SELECT
  coalesce(r.pattern, u.rule_pattern) AS rule,
  u.scope,
  u.l1,
  u.l2,
  u.usage,
  coalesce(u.concurrency_limit, r.concurrency) AS concurrency_limit,
  CASE WHEN u.concurrency_limit > 0 THEN CAST(u.usage AS DOUBLE) / CAST(u.concurrency_limit AS DOUBLE) END AS usage_share,
  coalesce(w.waiting, 0) AS waiting,
  coalesce(w.queues, 0) AS waiting_queues,
  w.blocked_for,
  r.description,
  r.disabled,
  r.version AS rule_version,
  r.last_modified
FROM sys_rules r
FULL JOIN sys_user_limits u ON u.rule_pattern = r.pattern
LEFT JOIN waits w ON w.rule = u.rule_pattern AND w.scope = u.scope
  AND (w.l1 IS NOT DISTINCT FROM u.l1) AND (w.l2 IS NOT DISTINCT FROM u.l2)
WHERE coalesce(r.pattern, u.rule_pattern) IS NOT NULL
  AND (:above = 0 OR (u.concurrency_limit > 0 AND u.usage * 100.0 > u.concurrency_limit * :above))
ORDER BY usage_share DESC NULLS LAST, waiting DESC, 1, u.scope, u.l1, u.l2
LIMIT :limit
