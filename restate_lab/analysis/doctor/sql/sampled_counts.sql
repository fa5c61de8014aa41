-- How many invocations did the samples of a history's last day count?
-- row: one sample and handler with a status or a key, the newest sample first; completed ones only of the newest sample
-- cost: point (the samples of an archive)
-- needs: samples
WITH newest AS (
  SELECT max(sampled_at) AS at
  FROM samples)
SELECT
  s.sampled_at,
  s.service,
  s.handler,
  s.key,
  s.status,
  s.invocations,
  s.oldest_created_at
FROM samples s
CROSS JOIN newest n
WHERE s.sampled_at >= n.at - INTERVAL '1 day'
  AND (s.status <> 'completed' OR s.sampled_at = n.at)
ORDER BY s.sampled_at DESC, s.invocations DESC, s.service, s.handler, s.key, s.status
