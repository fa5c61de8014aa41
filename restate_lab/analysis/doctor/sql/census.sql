-- How many invocations are there, by handler, deployment and status?
-- row: one handler, status (for completed ones also how they ended), and pinned deployment (for open ones)
-- cost: scan (the status of every invocation)
-- needs: sys_invocation_status
-- :recent = required (time) invocations completed since then are recent
-- :overdue = required (time) invocations that should have started before then are late
-- :expires = required (time) invocations that expire before then expire soon
-- :slow_ms = required (number) milliseconds from which a successful invocation is slow
-- :outlived = required (time) completed invocations whose retention ended before then should have been removed
--
-- Most checks share this scan. Servers return scheduled_start_at only if scheduled_at is also selected. The server
-- creates an idempotency key (a ULID) for calls without one; keys that look like a ULID are not counted as keyed. one_id
-- and other_id are in flight or recent and have a step; their journals show whether the handler is an agent. An archived
-- invocation does not expire.
WITH everybody AS (
  SELECT target_service_name, target_handler_name, status,
    CASE
      WHEN status <> 'completed' THEN NULL
      WHEN completion_result = 'success' THEN 'succeeded'
      WHEN completion_failure ~ '^\[409( Aborted)?\] ([Kk]illed|[Cc]ancell?ed)$' THEN 'ended'
      ELSE 'failed' END AS ending,
    CASE WHEN status <> 'completed' THEN pinned_deployment_id END AS deployment_id,
    CASE WHEN status = 'scheduled' AND scheduled_at IS NOT NULL THEN scheduled_start_at END AS starts_at,
    CASE WHEN completion_result = 'failure'
-- if: origins.origin
      AND origin = 'server'
-- else
-- end
      THEN completed_at
      + CASE WHEN journal_size > 0 THEN least(journal_retention, completion_retention) ELSE completion_retention END
      END AS expires_at,
    CASE WHEN status = 'completed'
-- if: origins.origin
      AND origin = 'server'
-- else
-- end
      THEN completed_at + completion_retention END AS kept_until,
    CASE WHEN completion_failure LIKE '%is exposed by the deprecated deployment %' THEN 1 END AS is_refused,
    CASE WHEN completion_result = 'success'
      THEN CAST(arrow_cast(completed_at, 'Int64') - arrow_cast(running_at, 'Int64') AS DOUBLE) END AS took_ms,
    CASE WHEN target_service_key IS NOT NULL AND idempotency_key IS NOT NULL
      AND (character_length(idempotency_key) <> 26 OR NOT idempotency_key ~ '^[0-7][0-9A-HJKMNP-TV-Z]{25}$')
      THEN 1 END AS is_keyed,
    CASE WHEN journal_size > 2 AND (status <> 'completed' OR completed_at >= :recent) THEN id END AS sample,
    completed_at, journal_size, restarted_from
-- if: origins.origin
  FROM sys_invocation_status
  JOIN (SELECT id AS run_id, origin FROM origins) ON run_id = id)
-- else
  FROM sys_invocation_status)
-- end
SELECT
  target_service_name,
  target_handler_name,
  status,
  ending,
  deployment_id,
  count(*) AS invocations,
  count(CASE WHEN completed_at >= :recent THEN 1 END) AS recent,
  count(CASE WHEN starts_at < :overdue THEN 1 END) AS overdue,
  min(starts_at) AS starts_first,
  count(CASE WHEN expires_at < :expires THEN 1 END) AS expiring,
  min(expires_at) AS expires_first,
  -- if: visits
  percentile_cont(took_ms, 0.5) AS median_ms,
  -- else
  approx_percentile_cont(took_ms, 0.5) AS median_ms,
  -- end
  count(CASE WHEN took_ms >= :slow_ms THEN 1 END) AS slow,
  count(CASE WHEN kept_until < :outlived THEN 1 END) AS outlived,
  min(kept_until) AS kept_first,
  count(is_refused) AS refused,
  count(is_keyed) AS keyed,
  count(restarted_from) AS restarted,
  sum(journal_size) AS journal_entries,
  max(journal_size) AS longest_journal,
  min(sample) AS one_id,
  max(sample) AS other_id
FROM everybody
GROUP BY target_service_name, target_handler_name, status, ending, deployment_id
