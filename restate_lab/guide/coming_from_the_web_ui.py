"""Coming from the web UI.

The words and colours are the web UI's, so nobody has to translate: twelve statuses, with failed, cancelled and killed
told apart.

| in the web UI | here |
|---|---|
| overview | `rl.Panel(lab, view="overview")`, `rl.plot_status(rl.ask(lab, "overview"))` |
| invocations, with filters | `rl.Panel(lab, service=…, status=…)`, worst first, equal failures grouped |
| one invocation, its journal | click a row, or `rl.Panel(lab, open=id)`; `rl.plot_journal(rl.journal(lab, id))` |
| actions on an invocation or on those selected | the panel's buttons: plan, reason, outcome per row |
| state of an object | `rl.Panel(lab, view="state", service=…, key=…)`, `rl.state(lab, service, key)` |
| deployments, drained or not | `rl.Panel(lab, view="deployments")`: what is pinned to each, which can be removed |
| the SQL page | `lab.sql(…)`, or `%%restate` after `%load_ext restate_lab`, with completion |

What the web UI has no page for: causes across all invocations (`rl.doctor`), who waits for whom (`rl.waits`),
two runs side by side (`rl.journal_diff`), more than one page of rows, anything that retention has deleted
(`rl.freeze`, `rl.open_evidence`), a file to hand over (`rl.Report`, `rl.incident_report`).

There is one panel: its tabs switch between the views, and the doctor's findings are above them. `panel.sql`,
`panel.frame` and `panel.selected` return what the screen shows, and "Copy as code" copies the call that shows it again.
"""
