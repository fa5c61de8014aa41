-- Which handlers did the last complete visit of an archive find?
-- row: one visit; retention is a JSON list of handlers
-- cost: point (the visits of an archive)
-- needs: visits.retention
SELECT retention
FROM visits
WHERE outcome = 'complete' AND retention IS NOT NULL
ORDER BY started_at DESC
LIMIT 1
