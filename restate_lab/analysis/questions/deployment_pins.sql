-- Can this deployment be removed, and what pins it?
-- row: one deployment, registered or removed but still pinned; those without pinned invocations first
-- cost: scan (the status of every invocation, and every entry of the vqueues)
-- needs: open invocations, the present, sys_invocation_status, sys_invocation_state
-- needs: sys_deployment, sys_service
-- :limit = 10000 (number) maximum number of rows
-- with: backing_off
--
-- can_be_removed: no open invocation is pinned to it, and it is not the latest revision of a service. would_land is the
-- number of open invocations without a pin of the services whose latest revision it is: they run on the deployment that
-- is then the latest.
WITH open_work AS (
  SELECT s.id, s.target_service_name, s.pinned_deployment_id, s.created_at,
    CASE
    WHEN s.status = 'inboxed' THEN 'pending'
    WHEN s.status <> 'invoked' THEN s.status
    WHEN r.in_flight THEN 'running'
    WHEN r.retry_count > 0 OR b.id IS NOT NULL THEN 'backing-off'
    ELSE 'ready' END AS status
  FROM backing_off b
  RIGHT JOIN (
    sys_invocation_status s
    LEFT JOIN sys_invocation_state r ON r.id = s.id) ON s.id = b.id
  WHERE s.status <> 'completed'),
pinned AS (
  SELECT pinned_deployment_id AS deployment_id, count(*) AS pinned,
    count(*) FILTER (WHERE status IN ('running', 'ready')) AS pinned_running,
    count(*) FILTER (WHERE status = 'backing-off') AS pinned_backing_off,
    count(*) FILTER (WHERE status = 'suspended') AS pinned_suspended,
    count(*) FILTER (WHERE status = 'paused') AS pinned_paused,
    min(created_at) AS oldest_created_at, first_value(id ORDER BY created_at, id) AS oldest_id
  FROM open_work
  WHERE pinned_deployment_id IS NOT NULL
  GROUP BY pinned_deployment_id),
latest AS (
  SELECT v.deployment_id, array_agg(v.name ORDER BY v.name) AS latest_of, sum(coalesce(u.invocations, 0)) AS would_land
  FROM sys_service v
  LEFT JOIN (
    SELECT target_service_name, count(*) AS invocations
    FROM open_work
    WHERE pinned_deployment_id IS NULL
    GROUP BY target_service_name) u ON u.target_service_name = v.name
  GROUP BY v.deployment_id),
deployments AS (
  SELECT d.id AS deployment_id, d.endpoint, d.created_at, true AS is_known FROM sys_deployment d
  UNION ALL
  SELECT p.deployment_id, CAST(NULL AS VARCHAR) AS endpoint, NULL AS created_at, false AS is_known
  FROM pinned p
  LEFT JOIN sys_deployment d ON d.id = p.deployment_id
  WHERE d.id IS NULL)
SELECT
  d.deployment_id,
  d.endpoint,
  d.is_known,
  d.is_known AND p.pinned IS NULL AND l.deployment_id IS NULL AS can_be_removed,
  l.latest_of,
  coalesce(p.pinned, 0) AS pinned,
  coalesce(p.pinned_running, 0) AS pinned_running,
  coalesce(p.pinned_backing_off, 0) AS pinned_backing_off,
  coalesce(p.pinned_suspended, 0) AS pinned_suspended,
  coalesce(p.pinned_paused, 0) AS pinned_paused,
  p.oldest_created_at,
  :now - p.oldest_created_at AS oldest_age,
  p.oldest_id,
  coalesce(l.would_land, 0) AS would_land,
  d.created_at
FROM deployments d
LEFT JOIN pinned p ON p.deployment_id = d.deployment_id
LEFT JOIN latest l ON l.deployment_id = d.deployment_id
ORDER BY can_be_removed DESC, pinned, d.created_at, d.deployment_id
LIMIT :limit
