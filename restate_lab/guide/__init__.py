"""The guide: what one reads before the reference.

- `restate_lab`: the reference of all public names, and `restate_lab.errors`
- `restate_lab.guide.tour`: pictures of panels, plans, plots and reports
- `restate_lab.guide.coming_from_the_cli`: what the `restate` command line does, and the call for it here
- `restate_lab.guide.coming_from_the_web_ui`: the same for the web UI's pages
- `restate_lab.guide.operators`: big clusters, rate limits, time and byte limits, the server's batch size
- `restate_lab.guide.security`: read-only connections, tokens, what is masked, the audit log
- `restate_lab.guide.questions`: the named questions, from their SQL files
- `restate_lab.guide.actions`: what can be done to invocations in which status, from the table that plans use
- `restate_lab.guide.faults`: what comes of each call when the line, the server or a node fails, and what to do next
- `restate_lab.guide.trust`: what was tried to break it, what broke, and what still does
- `restate_lab.guide.front_ends`: where panels were tried
- `restate_lab.guide.objects`: what the functions give, and the clients of a `Lab`

The same texts stand in `help("restate_lab.guide.operators")` and the like. `python -m restate_lab.guide` writes them
with the reference of all public names as HTML to `build/docs` (the extra `docs` brings pdoc), and with
`--pictures build/screenshots` the pictures that the tests took.

![The panel: the doctor's findings, filters, and the list of invocations](../../.github/images/panels.png)
"""
