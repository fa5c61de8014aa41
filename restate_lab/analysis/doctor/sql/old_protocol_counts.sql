-- How many open invocations use an old service protocol, or have not used any?
-- row: one service, and whether its open invocations have a protocol
-- cost: scan (the status of every invocation)
-- needs: sys_invocation_status.pinned_service_protocol_version
-- :newest = required (number) the newest of the old versions
SELECT target_service_name, pinned_service_protocol_version IS NOT NULL AS is_pinned, count(*) AS invocations
FROM sys_invocation_status
WHERE status <> 'completed' AND (pinned_service_protocol_version IS NULL OR pinned_service_protocol_version <= :newest)
GROUP BY 1, 2
ORDER BY invocations DESC, target_service_name
