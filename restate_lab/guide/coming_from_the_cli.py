"""Coming from the `restate` command line.

`rl.connect()` reads the CLI's `config.toml`, its environments and its `RESTATE_*` variables by the CLI's rules, so
that a notebook on your machine reaches the cluster that `restate` reaches: `rl.connect("prod")` is `restate -e prod`.
There is one difference. With `RESTATE_ADMIN_URL` set, `restate -e prod` goes to that address, with the token of `prod`.
Here an environment that you name is used as it is configured, or `SettingsError` tells which variable to unset.
Without a name, `rl.connect()` uses the address in the variable, shows host and port as the name of the cluster, and
sends no token but `RESTATE_AUTH_TOKEN`.

| with the CLI | here |
|---|---|
| `restate whoami`, `restate config list-environments` | `lab`: the card says where its address comes from |
| `restate invocations list` | `rl.InvocationsPanel(lab)`, or `rl.ask(lab, "oldest_unmoved")`; nothing stops at 100 |
| `restate invocations describe ID` | `rl.why(lab, id)`, `rl.journal(lab, id)`, `rl.InvocationPanel(lab, id)` |
| `restate invocations cancel/kill/pause/resume/purge` | `rl.plan(lab, "cancel", ids)`, then `.execute(reason=…)` |
| `restate invocations restart-as-new ID` | `rl.plan(lab, "restart_as_new", ids, from_index=…)` |
| `restate deployments list` | `lab.admin.list_deployments().frame()`, `rl.DeploymentsPanel(lab)` |
| `restate deployments register URI` | `lab.admin.create_deployment(uri=…, reason=…)` |
| `restate deployments remove ID` | `rl.ask(lab, "deployment_pins")` first; then `lab.admin.delete_deployment(…)` |
| `restate services list/describe/config` | `lab.admin.list_services()`, `get_service`, `modify_service` |
| `restate services status` | `rl.OverviewPanel(lab)`, `rl.ask(lab, "overview")` |
| `restate state get/edit/clear SERVICE KEY` | `rl.state(lab, service, key)`, `rl.set_state(…)`, `rl.StatePanel(lab)` |
| `restate kafka-clusters`, `subscriptions`, `rules`, `vqueues` | `lab.admin`, one method per operation |
| `restate sql "SELECT …"` | `lab.sql("SELECT …", name=value)`, in a shell `restate-lab sql "SELECT …"` |

What the CLI has no word for: `rl.doctor(lab)`, `rl.waits(lab)`, `rl.ask(lab, "retry_storm")`, `rl.freeze(lab, path)`,
`rl.compare(before, after)`, reports.

Two habits to change. A bulk action by a filter is two steps here: ask for the ids, look at the plan, then execute
exactly that. And a reason is required: whoever reads the audit log in a month will be glad of it.
"""
