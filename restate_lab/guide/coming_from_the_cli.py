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
| `restate invocations list` | `rl.Panel(lab)`, up to 10,000 rows; or `rl.ask(lab, "oldest_unmoved")` |
| `restate invocations describe ID` | `rl.why(lab, id)`, `rl.journal(lab, id)`, `rl.Panel(lab, open=id)` |
| `restate invocations cancel/kill/pause/resume/purge` | `rl.plan(lab, "cancel", ids)`, then `.execute(reason=…)` |
| `restate invocations restart-as-new ID` | `rl.plan(lab, "restart_as_new", ids, from_index=…)` |
| `restate deployments list` | `lab.admin.list_deployments().frame()`, `rl.Panel(lab, view="deployments")` |
| `restate deployments register URI` | `lab.admin.create_deployment(uri=…, reason=…)` |
| `restate deployments remove ID` | `rl.ask(lab, "deployment_pins")` first; then `lab.admin.delete_deployment(…)` |
| `restate services list/describe/config` | `lab.admin.list_services()`, `get_service`, `modify_service` |
| `restate services status` | `rl.Panel(lab, view="overview")`, `rl.ask(lab, "overview")` |
| `restate state get/edit/clear` | `rl.state(lab, service, key)`, `rl.set_state(…)`; `rl.Panel(lab, view="state")` |
| `restate kafka-clusters`, `subscriptions`, `rules`, `vqueues` | `lab.admin`, one method per operation |
| `restate sql "SELECT …"` | `lab.sql("SELECT …", name=value)`, in a shell `restate-lab sql "SELECT …"` |

What the CLI has no word for: `rl.doctor(lab)`, `rl.waits(lab)`, `rl.ask(lab, "retry_storm")`, `rl.freeze(lab, path)`,
`rl.compare(before, after)`, reports.

## In a shell

`restate-lab` is the command line for the same questions; it only reads. It finds the cluster by the same rules, and
`-e` takes the name of an environment or an admin address.

| command | what it prints |
|---|---|
| `restate-lab doctor` | what is wrong, worst first, each finding with its next step; the exit code is the verdict |
| `restate-lab why ID` | why an invocation makes no progress, and what you can do |
| `restate-lab journal ID` | its journal as a tree with bars; failing steps have their error; `--depth 2` adds callees |
| `restate-lab waits` | deadlocks, root blockers, unanswered awakeables and promises; the exit code of a deadlock is 3 |
| `restate-lab ask QUESTION`, `restate-lab sql "SELECT …"` | rows |
| `restate-lab freeze PATH`, `restate-lab compare A B` | evidence, and what changed |

A next step that reads is a `restate-lab` command. One that changes something is a command of `restate`, which asks
before it acts. Two changes have no command there, and are requests with `curl`: an answer to an awakeable, and a new
address of a deployment. `restate` writes no audit log and asks for no reason; `rl.plan` does both.

At a terminal the output has colors and is wrapped to its width. `NO_COLOR=1` turns colors off, `FORCE_COLOR=1` turns
them on in a pipe. In a pipe, each paragraph and each row is one line. For programs there are `--json`, `--csv` and
`--parquet`.

Two habits to change. A bulk action by a filter is two steps here: ask for the ids, look at the plan, then execute
exactly that. And a reason is required: whoever reads the audit log in a month will be glad of it.
"""
