"""The page of the columns of the two widest results."""

from __future__ import annotations

__doc__ = """# Columns

The columns of the two widest results. None is unknown or not applicable, never 0; times are UTC.

## Journal

`rl.journal` returns one row per entry. An entry without a value has None.

- `invocation_id, depth` (1 is the requested invocation), `index` (None for a wait that is not in the journal yet)
- `entry_type` with Restate's name ("Run", "Call", "Sleep", "Signal", …; awaited awakeables are "Signal"), `name` (of
  a step, or of a signal; signal 1 is "cancel")
- `status`: "done", "failed", "open", or "abandoned" if the invocation ended first; None if it is unknown
- `open`: whether the invocation still executes this entry or waits for it
- `started, completed`, `duration`. Restate records a command when the handler reaches it; a command that needs no
  result is completed at the same time. A restart as new keeps the times of the entries that it copies. The time at
  which a handler began to wait for a signal is unknown.
- `result`: "success", "failure" or "void" (empty); for SendSignal and CompleteAwakeable the result that they send
- `failure, failure_code`: the final failure; None in journals above 32 MB, unless payloads are read
- `callee, callee_target`: the invocation that was called, sent to, attached to or signalled, or that waits for the
  awakeable; `wakes_at`: when a sleep ends or a delayed send starts
- `promise, awakeable_id, state_key`: the names or ids that the entry uses
- `retries`: the number of failed attempts. If `retries_at_least` is true, there may have been more: the server
  records consecutive equal errors once, and counts only the attempts of the current entry. None if the source has no
  events. An error between two entries is assigned to the earlier entry.
- `last_error, last_error_code`: the last of these errors
- `size` (bytes, of command and notifications; None before 1.7)
- `command_index` (counts commands only, like `last_failure_related_command_index`), `completion_index` (of the
  notification; `from` of a restart as new also counts notifications)
- `caller` (the invocation that made the call above a callee's rows), `children` (number of rows inserted below; None
  if `depth` excludes them)
- with `payloads`: `payload` (the result, or the value that was written), `argument` (of a call), each parsed as JSON
  (like Python's `json.loads`), else text, else bytes, None if empty; `headers` (a dict). Secret headers are masked,
  also if a payload repeats them, for example in a response; other parts of payloads are not masked. Payloads that an
  SDK encoded are decoded by `connect(decode=…)`; one that cannot be decoded is the text "not decoded: …" with the
  reason. Bytes that an SDK encrypted are shown as "encrypted by the SDK".

`frame.attrs` has `id, target, status, source, version, read_at, depth`, `failed_attempts` (since the invocation last
made progress; None if the server does not report it), `invocations` (id → the attempts of each invocation that is in
flight or had errors), `queries` (the statements that were sent, with `sql, params, times`), `note` if there is no
journal, and `truncated` if callees were not read, with a warning (Truncated). `suspensions` has a row for each
invocation that is suspended, or was when it ended: `id, since` (with service protocol 7, else None), `waits_for`
(text), `is_combination` (the SDK reports how it combines several results) and `tree` (`kind` with `parts` for a
combination: AllCompleted, FirstCompleted, …, or Unknown if the SDK does not report it; else the entry type with
`detail` and `index`). `events` has the latest 100 events of each invocation whose types restate_lab does not know:
`id, event, at, after_index`.

## Runs of agents

`rl.agent_runs` returns one row per invocation.

- `id, service, handler, key` (of a session), `status, created_at, completed_at`
- `framework`, `models` (the model that responded, else the requested one; OpenAI Agents writes none with the
  Responses API)
- `model_calls, tool_calls` (of the models), `retries` (failed attempts; there may have been more, because the server
  can record equal errors once)
- `input_tokens` (with the cached ones), `cached_tokens`, `output_tokens` (with the reasoning ones),
  `reasoning_tokens`: **journaled tokens**, of all steps in this journal
- `spent_tokens`: input and output of the steps that this run paid for. `wasted_tokens`: those of a run that failed or
  was killed, without the steps that a restart copied. `saved_tokens`: those of steps that a restart as new copied
  from another run, or that were not paid again after a failed attempt (0 for a handler with `explicit_recovery`, whose
  later attempts call the models again). `possibly_paid_calls`: failed attempts at a step of a model that were not
  refused (429, 5xx, no connection); the provider may have been paid. An error without a command (RT0003, a message is
  too large) counts if a single step had no result at that time. Retries inside a client, and responses that were lost
  in a crash, are not in a journal.
- `cost`: of the spent tokens in US dollars; None if one of the steps has no price or no tokens
- `model_s, tools_s, people_s, backoff_s`: seconds in calls of models, in commands of tools, in waits for awakeables
  and promises, and from the first error of a step to its result. No second counts twice; times of a restart's copied
  steps do not count. A wait for an awakeable begins after the entry before it.
- `restarted_from, invoked_by_id` (the calling invocation), `note`: what is missing in this row, and why

If an SDK encrypts its payloads, and `rl.connect(decode=…)` does not decode them, an invocation has a row if a step has
the name that an integration gives to calls of models; `note` reports it, and the tokens are unknown. So does one whose
payloads are not in the archive.

`frame.attrs` has `invocations` (the number of invocations that were searched), `encoded` (those with results of steps
that are neither JSON nor text, such as encrypted ones), `without_payloads` (those in an archive without payloads, of
`open_history(where, live=lab)`), `without_journal` (those whose journal was purged or not retained), `unpriced` (the
models without a price), `cost_note`, `queries`, and `truncated` if there are more invocations than `limit`, with a
warning (Truncated).
"""
