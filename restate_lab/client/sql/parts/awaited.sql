-- The status of invocations, with the numbers of all results that suspended ones wait for.
-- Since protocol 7 an SDK reports how it combines results, and the two lists have only those outside of a combination.
-- A list within a list is such a combination. The expressions take ten times as long as the lists.
-- if: sys_invocation_status.suspended_waiting_future_json
SELECT id, status, target, target_service_name, target_handler_name, target_service_key, invoked_by_id,
  pinned_deployment_id, created_at, modified_at, running_at, completed_at, completion_result, completion_failure,
  coalesce(CASE WHEN suspended_waiting_future_json LIKE '%[%[%' THEN arrow_cast(string_to_array(nullif(trim(
    regexp_replace(suspended_waiting_future_json, '.*?"CompletionId":\s*(\d+)|.+', '\1 ', 'g')), ''), ' '),
    'List(UInt32)') END, suspended_waiting_for_completions) AS completions,
  coalesce(CASE WHEN suspended_waiting_future_json LIKE '%[%[%' THEN arrow_cast(string_to_array(nullif(trim(
    regexp_replace(suspended_waiting_future_json, '.*?"SignalIndex":\s*(\d+)|.+', '\1 ', 'g')), ''), ' '),
    'List(UInt32)') END, suspended_waiting_for_signals) AS signals
FROM sys_invocation_status
-- else
SELECT id, status, target, target_service_name, target_handler_name, target_service_key, invoked_by_id,
  pinned_deployment_id, created_at, modified_at, running_at, completed_at, completion_result, completion_failure,
  suspended_waiting_for_completions AS completions, suspended_waiting_for_signals AS signals
FROM sys_invocation_status
-- end
