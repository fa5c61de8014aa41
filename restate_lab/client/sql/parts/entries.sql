-- The entries of invocations in the vqueues, one row per invocation that has one.
-- A queued change of state is also an entry; its id is not the id of an invocation.
-- if: sys_vqueue_entry_status
SELECT
  entry_id AS id,
  stage,
  status,
  next_at,
  num_errors,
  CAST(retry_attempts AS BIGINT UNSIGNED) AS retry_attempts,
  deployment
FROM sys_vqueue_entry_status
WHERE entry_kind = 'invocation'
-- else
SELECT
  id,
  CAST(NULL AS VARCHAR) AS stage,
  CAST(NULL AS VARCHAR) AS status,
  arrow_cast(NULL, 'Timestamp(Millisecond, Some("+00:00"))') AS next_at,
  CAST(NULL AS INT UNSIGNED) AS num_errors,
  CAST(NULL AS BIGINT UNSIGNED) AS retry_attempts,
  CAST(NULL AS VARCHAR) AS deployment
FROM sys_invocation_status
WHERE false
-- end
