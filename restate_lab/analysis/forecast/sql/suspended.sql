-- Which calls are suspended? All of them, or a random part.
-- row: one suspended invocation
-- cost: scan (the status of every invocation)
-- needs: sys_invocation_status.partition_key
-- :services = required (ids) only these services
-- :share = required (number) one in this many; 1 for all
SELECT id, target_service_name AS service
FROM sys_invocation_status
WHERE status = 'suspended' AND target_service_name IN :services
  AND (:share = 1 OR partition_key % :share = 0)
