"""For operators: big clusters, limits, and what asking costs.

**What a question costs.** Only `id =`, `id IN` and a bare `LIMIT` avoid a scan of all invocations. Filters on status,
service, key or time are a scan that sends little: about a quarter of reading everything. `ORDER BY … LIMIT` is a full
scan. `rl.questions()` gives each question's cost (point, scan, heavy); a heavy one says so before it runs.

**Limits of a read.** Each has a time limit (`timeout`, from `connect` or per call) and a byte limit (`max_bytes`, 2 GiB
by default); both end the query on the server, too. What is more than memory holds goes through `lab.stream` or
`lab.to_parquet`, which keep one part at a time. The stop button ends a query within a moment. The server itself has no
query timeout.

**Rate limits.** A server may be told to allow so many queries a minute (`admin.query-engine.rate-limiting` in its
configuration), and answers 429 with the seconds to wait; so does a limit of concurrent requests, without them. Reads
wait it out for up to ten seconds, plans for up to thirty, and panels ask more seldom. A live panel never takes more
than a tenth of the time: a read of 2 s is repeated every 20 s at most, and only while somebody sees it.

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

**Thirty million rows.** The server's scan grows by about 1.2 µs a row for fifteen columns, so a full read of 30 million
takes most of a minute and several gigabytes: filter on the server, group on the server, or stream to Parquet by service
or by day. Panels and the doctor's samples stay at 10,000 to 20,000 rows and say what they left out. Shorten retention
for handlers that nobody looks at: completed rows are most of a big table.
"""
