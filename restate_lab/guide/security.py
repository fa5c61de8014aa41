"""Security: who may change what, what is never shown, and what is written down.

**Read-only.** `rl.connect(read_only=True)` has no door for changes: every one of them raises `ReadOnly` before anything
is sent, and panels have no buttons. `RESTATE_LAB_READ_ONLY=1` does so for every connection of a process, and nothing
can undo it. Notebooks run by `restate-lab report` and `restate-lab demo --once` are read-only unless told otherwise:
"Run all" must not act again. The toolkit cannot tell a server to refuse: where it matters, give people a token that
may only read, from the gateway before the Admin API or from Restate Cloud's roles. A server without such a gateway
checks no token at all.

**Tokens.** From `RESTATE_AUTH_TOKEN`, the CLI's `config.toml`, or `rl.connect(token=getpass.getpass())`. They appear in
no repr, error, log, pickle, audit record, report or frozen file. An address with a user name and password in it is
refused, and so is a redirect: a token goes to the host that was named, and nowhere else. The token of an environment
of the CLI is sent to the addresses of that environment and to `ingress_url=`. An address in `RESTATE_ADMIN_URL`,
`RESTATE_HOST` or `RESTATE_INGRESS_URL` that is not the environment's own does not get it.

**What is masked.** Values of headers whose names speak of authorization, cookies, tokens, secrets, passwords, keys,
signatures or a provider's organization are masked in models, journals, panels, reports and evidence. This includes the
headers of a response that a payload repeats. What `lab.sql`, `lab.arrow` and `lab.stream`
return is what the server sent: `sys_journal` keeps the headers of every call. Payloads are shown where you ask for
them (`payloads=True`, a button). `rl.freeze(…, redact=[…])` takes more out, by column or by path into the JSON. A
payload that cannot be read as JSON and could hold what the path means is masked whole, counted, and warned of.

**Text stays text.** Keys, targets and failures come from outside. Panels, cards, reports and exports treat them as
text: no HTML of theirs is rendered, and a cell that a spreadsheet would run as a formula is defused in CSV and xlsx.

**The audit log.** Every change is written before it is sent and again with its result: who, where, what, which ids,
why. One file per process, readable by you alone; `rl.audit_log()` is the frame. If the first record cannot be written,
nothing is sent. It knows what was changed with this toolkit by this user on this machine, and nothing else.

**Nothing from outside.** No CDN, no telemetry: notebooks, panels and reports load nothing and tell nobody.
"""
