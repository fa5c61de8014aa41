-- How many invocations did the samples of a history's last day count?
-- row: one sample and handler with a status or a key, the newest sample first; completed ones only of the newest sample
--   that counted the service, at newest_at
-- cost: point (the samples and visits of an archive)
-- needs: samples, visits.services
WITH counted AS (
  SELECT unnest(services) AS service, started_at AS at
  FROM visits
  WHERE outcome = 'complete' AND open_retention IS NOT NULL
  UNION ALL
  SELECT s.service, w.at
  FROM samples s
  CROSS JOIN (SELECT max(sampled_at) AS at FROM samples WHERE shard IS NULL) w),
newest AS (
  SELECT service, max(at) AS newest_at
  FROM counted
  GROUP BY 1)
SELECT
  s.sampled_at,
  n.newest_at,
  s.shard,
  s.service,
  s.handler,
  s.key,
  s.status,
  s.invocations,
  s.oldest_created_at
FROM samples s
JOIN newest n ON n.service = s.service
WHERE s.sampled_at >= n.newest_at - INTERVAL '1 day'
  AND (s.status <> 'completed' OR s.sampled_at = n.newest_at)
ORDER BY s.sampled_at DESC, s.invocations DESC, s.service, s.handler, s.key, s.status
