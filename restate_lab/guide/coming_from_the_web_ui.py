"""Coming from the web UI.

The words and colours are the web UI's, so nobody has to translate: twelve statuses, with failed, cancelled and killed
told apart.

| in the web UI | here |
|---|---|
| overview | `rl.OverviewPanel(lab)`, `rl.plot_status(rl.ask(lab, "overview"))` |
| invocations, with filters | `rl.InvocationsPanel(lab, service=…, status=…)`; it says "10,000 of n" |
| one invocation, its journal | click a row, or `rl.InvocationPanel(lab, id)`; `rl.plot_journal(rl.journal(lab, id))` |
| actions on an invocation or on those selected | the panel's buttons: plan, reason, outcome per row |
| state of an object | `rl.StatePanel(lab)`, `rl.state(lab, service, key)` |
| deployments, drained or not | `rl.DeploymentsPanel(lab)`: what pins each, what could go |
| the SQL page | `lab.sql(…)`, or `%%restate` after `%load_ext restate_lab`, with completion |

What the web UI has no page for: causes across all invocations (`rl.doctor`), who waits for whom (`rl.waits`),
two runs side by side (`rl.journal_diff`), more than one page of rows, anything that retention has deleted
(`rl.freeze`, `rl.open_evidence`), a file to hand over (`rl.Report`, `rl.incident_report`).

A panel ends in code: `panel.sql`, `panel.frame` and `panel.selected` are what the screen shows, and "copy as code"
gives the call that makes the panel again.
"""
