"""For operators: big clusters, limits, and what asking costs.

**What a question costs.** Only `id =`, `id IN` and a bare `LIMIT` avoid a scan of all invocations. Filters on status,
service, key or time are a scan that sends little: about a quarter of reading everything. `ORDER BY … LIMIT` is a full
scan. `rl.questions()` gives each question's cost (point, scan, heavy); a heavy one says so before it runs.

**Limits of a read.** Each has a time limit (`timeout`, from `connect` or per call) and a byte limit (`max_bytes`, 2 GiB
by default); both end the query on the server, too. What is more than memory holds goes through `lab.stream` or
`lab.to_parquet`, which keep one part at a time. The stop button ends a query within a moment. The server itself has no
query timeout. Functions such as `rl.waits` send several queries: their `timeout` ("30s", seconds, a timedelta) is for
all of them together. They raise TimedOut when it is over; `rl.doctor`, `rl.why` and `rl.incident_report` return what
they have, and say what was not read. Without it, each query has the limit of the connection.

**Rate limits.** A server may be told to allow so many queries a minute (`admin.query-engine.rate-limiting` in its
configuration), and answers 429 with the seconds to wait; so does a limit of concurrent requests, without them. Reads
wait it out for up to ten seconds, plans for up to thirty, and panels ask more seldom. The rows of a live
panel never take more than a tenth of the time: a read of 2 s is repeated every 20 s at most, and only while the panel
is visible. Its counts take a twentieth at most, and its doctor a thirtieth.

**Batch size.** Servers send 128 rows at a time. With `datafusion.execution.batch_size` at 8192 in the query engine's
options a scan is about 1.5 times as fast. Set it in the server's configuration; a `SET` would change it for everybody
until the next restart, which is why the toolkit refuses to send one.

**Read-only tokens.** See `restate_lab.guide.security`.

**Several nodes.** Any node answers for all. When one dies, the others answer with errors for some seconds; reads repeat
themselves on those errors and no others. `/cluster-health` lists configured members, dead ones too: the toolkit does
not call it health.

**Load balancers.** An idle line is often cut after 60 s, and a filter without hits sends nothing while it scans. A 504
or a cut is an error that says so; give the balancer a longer timeout for `/query`, or ask about less.

**Bulk actions.** Plans use the batch endpoint of the web UI, 1,000 ids a call, where the server has it, and single
calls where a gateway has closed it; the outcome is the same frame. `rl.ACTIONS` has the table.

**What it costs at a million invocations.** Measured on 1,003,000 invocations (987,000 scheduled, 12,000 completed,
4,000 suspended) on a 1.7.12 server that shares two cores with the toolkit. One unit is what `curl` needs for fifteen
columns of all rows, 0.9 s there; `tests/benchmarks/load.py` measures it on yours.

| what | units | memory above the start |
|---|---|---|
| `lab.sql`, fifteen columns of all rows | 1.2 | 256 MiB, 1.2 times the bytes |
| `lab.to_parquet`, the same | 1.4 | 78 MiB, whatever the rows |
| the card, `rl.Panel(lab, view="overview")`, `rl.ask(lab, "overview")` | 0.6 | 4 MiB |
| the rows of `rl.Panel(lab)`; of one service | 1.4; 0.7 | 9 MiB |
| `rl.doctor(lab)` | 2.8 | 37 MiB |
| `rl.waits(lab)`, 4,000 waiting | 1.3 | |
| `rl.freeze(lab, path, service=…)`, 4,000 invocations with journals | 2.2 | 21 MiB |
| questions that scan | 0.2 to 1.2 | |
| `largest_payloads`, `oldest_unmoved`, `open_awakeables` | 1.7 to 2.2 | |
| `rl.why(lab, id)`, `rl.journal(lab, id)` | below 0.1 | |

**Thirty million.** Seconds on one server of that size and speed, with 4,000 suspended invocations and few completed
ones; the last column is extrapolated, as all of it grows in a straight line but what reads by id.

| what | 100,000 | 300,000 | 1 million | 3 million | 30 million |
|---|--:|--:|--:|--:|--:|
| the server's own `count(*)` | 0.07 | 0.10 | 0.42 | 1.1 | 11 |
| `rl.ask(lab, "overview")` | 0.16 | 0.24 | 0.86 | 1.9 | 19 |
| fifteen columns of the suspended ones | 0.14 | 0.34 | 0.90 | 2.5 | 25 |
| fifteen columns of all rows | 0.29 | 0.68 | 1.4 | | 41 |
| `rl.waits(lab)` | 0.6 | 1.2 | 1.8 | 4.2 | 40 |
| `rl.doctor(lab)` | 0.9 | 1.9 | 3.9 | 11 | 105 |
| `rl.why(lab, id)`; one row by id | 0.15; 0.01 | 0.18; 0.01 | 0.09; 0.01 | 0.08; 0.01 | the same |
| memory of the server, GiB | 0.6 | 0.7 | 1.3 | 2.9 | 26 |

At 30 million give `rl.doctor(lab, timeout="5m")`: within its 60 s the last checks do not run, and it reports that.
Give panels a `service=` or `status=` and `refresh=None`, freeze with `service=`, `since=` and `tables=`, and read
everything with `lab.to_parquet` service by service, as `lab.sql` stops at `max_bytes` after about 9 million rows.
`service=` does not make a question scan less, it only returns less. A larger `batch_size`, more nodes and a shorter
retention of completed invocations help most.

**A cluster in trouble.** 127,000 invocations of which 100,000 are suspended, 5,000 back off and 20,000 have failed:
the doctor takes 2.7 s and is complete, `rl.waits` 2.7 s, `rl.why` of one of them 0.12 s, where the count takes 0.05
s. Most of it is the server's scan of the journals, which tell what each invocation waits for. Beyond 150,000
suspended invocations the doctor reads those that have waited for longest, and reports that.

A scan that is slow takes the server's cores from everyone. On a large cluster let one person look at the whole, and the
others by id or by service. Panels show 10,000 invocations at most and report how many there are; the
first 300 are shown before the others are read.
"""
