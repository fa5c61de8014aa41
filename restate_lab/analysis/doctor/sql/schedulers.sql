-- Of how many vqueues do the schedulers report a status?
-- row: one row
-- cost: scan (the scheduler)
-- needs: feature vqueues, sys_scheduler
SELECT count(*) AS vqueues
FROM sys_scheduler
