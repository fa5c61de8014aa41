"""The guide: what one reads before the reference.

- `coming_from_the_cli`: what the `restate` command line does, and the call for it here
- `coming_from_the_web_ui`: the same for the web UI's pages
- `operators`: big clusters, rate limits, time and byte limits, the server's batch size
- `security`: read-only connections, tokens, what is masked, the audit log
- `questions`: the named questions, from their SQL files
- `actions`: what can be done to invocations in which status, from the table that plans use
- `faults`: what comes of each call when the line, the server or a node fails, and what to do next
- `front_ends`: where panels were tried
- `objects`: what the functions give, and the clients of a `Lab`

The same texts stand in `help(restate_lab.guide.operators)` and the like. `python -m restate_lab.guide` writes them with
the reference of all public names as HTML to `build/docs` (the extra `docs` brings pdoc).

![The invocations panel beside an opened invocation](../../.github/images/panels.png)
"""
