"""What was tried to break it, what broke, and what still does."""

from __future__ import annotations

__all__: list[str] = []

_HEAD = """What was tried to break it, what broke, and what still does.

Everything below was tried against real servers: 1.6.1, 1.7.12, and 1.7.12 with vqueues. What is said to hold or to be
mended has a test, unless it says otherwise. What comes of each call when line, server or node fails is a page of its
own: `restate_lab.guide.faults`.

"""

TRIED: dict[str, dict[str, str]] = {
    "Line and server": {
        "every call under each of 42 faults, on servers with vqueues and without": (
            "broke at first, mended: raw errors of httpx and Arrow, a change that happened told as not sent"
        ),
        "an answer cut after each of its 16,527 bytes; answers with flipped bits": (
            "broke, mended: bytes behind the end of a stream passed unseen. **Still:** pyarrow itself can end the "
            "process on some flipped bits; checking all would cost 8 %"
        ),
        (
            "the server killed and back within a query, a plan, an execution, a freeze, a doctor, and under open panels"
        ): (
            "broke, mended: for up to two seconds after its return a server answers with *too few rows*; who saw "
            "it away asks again, which behind a tunnel failed at first. **Still:** a connection that is made in "
            "these seconds knows nothing of it, and the server gives no sign"
        ),
        "one of three nodes killed within a query, a plan, a freeze, a doctor, and under an open panel": (
            "broke, mended: what nodes say meanwhile was taken for a statement that is wrong"
        ),
        "a refusal that comes before a large body was sent; an answer before the answer (102, 103)": (
            "broke, mended: the first was told as unknown, the second gave the next query the answer of the one before"
        ),
        "a server that is silent while a plan executes": ("holds, and takes up to 60 s for each request"),
        "servers older than 1.6.1": (
            "broke, mended: one question found nothing where there was something; now they are warned of, and what "
            "explains refuses"
        ),
    },
    "Answers": {
        (
            "`lab.sql`, `arrow`, `stream`, `to_parquet` and frozen evidence beside each other, and beside the server's "
            "JSON: extremes of each type, nulls, empty answers, names that are there twice"
        ): ("broke, mended: integers beside nulls within lists and structs lost their last digits"),
        "two processes on one connection after a fork": ("broke, mended: each could read the other's answer"),
        "vqueues switched on, or a server upgraded, under an open connection": (
            "broke, mended: it is asked anew after 30 s"
        ),
        (
            "`rl.waits` on random worlds whose deadlocks are known, `rl.doctor` on two stories with every fault planted"
        ): ("holds: each found by its ids, and nobody else blamed"),
        "statements and parameters from fuzzers, compared with the server's own tokenizer": (
            "holds: nothing that changes is sent. **Still:** an object that pretends to be a `datetime` and writes "
            "its own text can write SQL"
        ),
        "1.6.1 with `ORDER BY … LIMIT` on a column that is filtered and not selected": (
            "**still:** that server compares another column, mostly as an error, possibly with rows missing; our "
            "questions avoid it, your own SQL is not protected"
        ),
    },
    "Changes": {
        "87 executions interrupted at random moments; outcome, audit log and server compared": (
            "holds; an interrupt while the outcome was read lost it: mended"
        ),
        "one plan from five threads, copied, pickled, executed twice; its frame edited": (
            "broke, mended: rows dropped from `plan.frame` were acted on. `plan.only(…)` leaves out"
        ),
        "two plans that restart the same invocations": (
            "broke, mended: the second leaves them out. **Still:** in the same instant both restart; the server "
            "has no precondition"
        ),
        "five writers of one key of an object's state": (
            "holds: who is told that it was written finds it written. **Still:** of two that write the *same* "
            "value each is told so, and one write took place"
        ),
        "a full disk, an audit folder that cannot be written": (
            "holds: nothing is sent without its record, no half file stays"
        ),
    },
    "Secrets": {
        (
            "a canary as token and in headers, looked for in reprs, errors, logs, warnings, pickles, notebooks, audit "
            "records, reports, evidence, verbose tracebacks"
        ): (
            "broke, mended: frames of `connect()`, debugging output of http.client, gateways that repeat the "
            "token, parameters in reports"
        ),
        "what a person wrote": (
            "**still:** cells of a notebook are not masked in a report, its outputs and parameters are; `lab.sql` "
            "gives what the server has"
        ),
    },
    "An attack by a hostile tester": {
        (
            "every change behind Envoy, Istio, Cloudflare, nginx, AWS and Kubernetes, with an error of theirs before "
            "and after the server acted"
        ): (
            'broke, mended: a plan restarted invocations twice, and the audit log had "refused" for changes that '
            "happened. **Still:** an empty 200 of a proxy in place of a lifecycle call cannot be told from Restate's "
            "own; a gateway that removes the header `x-restate-id` makes `ingress.call` raise `OutcomeUnknown`"
        ),
        (
            "a purged workflow or call that runs again under the same id while a plan is reviewed, evidence is "
            "frozen or a panel is open"
        ): (
            "broke, mended: plans acted on a run that nobody had reviewed. **Still:** the API takes no precondition: a "
            "run that begins between the last read and the request is acted on"
        ),
        "payloads with NaN, long integers, half characters, a byte order mark, JSON within strings, JSON lines": (
            "broke, mended: `redact=` left secrets in them, or rounded their numbers. **Still:** a text that is not "
            "JSON is left as it is unless all names of the path occur in it"
        ),
        "a response of 64 kB that unpacks to gigabytes, or never ends; text on which regular expressions are slow": (
            "broke, mended: each is stopped at its limit of bytes or seconds"
        ),
        "1,000 interrupts at random moments: while libraries load, and during every verb": (
            "broke, mended: one while a library was loading left the session unusable"
        ),
        "every column of every response dropped, renamed, without values, or of another type": (
            "broke, mended: errors of pandas and Python escaped as they were; now it is one `ServerFailed`"
        ),
        "a statement that makes a worker of the server fail": (
            "broke, mended: it was sent again for ten seconds. **Still:** behind a gateway that answers 502 it cannot "
            "be told from an absence"
        ),
    },
    "Text and files of somebody who means ill": {
        (
            "markup, scripts, control characters, terminal sequences, marks that turn text around, words of a million "
            "letters, through every card, panel, plot, report, spreadsheet and command"
        ): (
            "broke, mended: `--json` passed some to the terminal, a long caption made a report 87,000 pixels wide. "
            "**Still:** `--csv -` writes what is there"
        ),
        "evidence whose manifest lies, whose paths escape, whose 1 kB grows to gigabytes": (
            "broke, mended: it ended the process. **Still:** a true value of 300 MB takes 0.7 GB; a table's own "
            "figures about its pages are believed; a view that joins large tables looks at its `timeout` between "
            "batches only"
        ),
        "a report's `redact=`": ("**there is none:** freeze with `redact=` and report on the evidence"),
    },
    "Panels and their notebook": {
        "a kernel that answers nothing while a reader clicks, twice, and asks for another plan meanwhile": (
            "broke, mended: what was confirmed in sight of one plan could confirm the next one; a busy kernel was not "
            "spoken of"
        ),
        "a range chosen among rows that are sorted or filtered anew at that moment": (
            "broke, mended: it took what lay between its ends in the new order"
        ),
        "a kernel that was restarted, a page that was loaded again, a panel in two cells, twenty panels": (
            "broke, mended: buttons of a former kernel did nothing, in silence. Twenty panels hold: those out of "
            "sight read nothing. **Still:** a saved notebook that is opened without its kernel shows the words of "
            "ipywidgets in place of a panel; exported as HTML it shows the static table"
        ),
        "from a filter to an executed action by the keyboard alone; names in the accessibility tree": (
            "holds: nothing without a name, the focus stays in the panel"
        ),
        "contrast in light and dark, windows down to 390 pixels, words of ten thousand letters": (
            "broke, mended: quiet text on a tint had 4.43 of 4.5; a plan's card was cut off in a narrow window"
        ),
    },
    "Load": {
        "a million invocations": ("holds: `restate_lab.guide.operators` has the figures"),
        "10,000 queries, 10,000 refreshes of a panel": (
            "holds: threads, sockets, files, widgets and comms flat, memory below 4 MiB more (pyarrow keeps 40 "
            "bytes of each column of times)"
        ),
        "`rl.doctor` among very many that are suspended": (
            "holds up to 150,000 suspended, and says so where there are more: complete and right among 100,000 "
            "suspended, 5,000 backing off and 20,000 failed, with the faults of an incident among them. **Still:** "
            "it takes about 50 times the server's count there, as the server's own scan of the journals takes 17"
        ),
    },
    "Around it": {
        (
            "1,000 connections left open, streams left half read, interrupts at random moments, threads that close it "
            "under each other"
        ): ("holds"),
        "proxies without a scheme, with a password, that refuse; addresses of all forms": (
            "broke, mended: named in the error, the password not shown. **Still:** `no_proxy` with a network "
            "(10.0.0.0/8) is not understood, as in Python itself"
        ),
        "every line of the README's table and of the notebooks, as a newcomer": (
            "broke, mended: two notebooks ended in an error where nothing is wrong, and some rows could not be pasted"
        ),
        "the oldest versions of all dependencies, JupyterLab and ipywidgets in the browser too; Python 3.11 and 3.13": (
            "broke, mended: bounds raised where a version did not work"
        ),
        "macOS, VS Code, Colab, a person with a screen reader, Python 3.14": ("**not tried**"),
    },
}
"""What came of each thing that was tried, by subject."""


def _page() -> str:
    """Return all of it as Markdown."""
    return _HEAD + "\n".join(_subject_section(title, rows) for title, rows in TRIED.items())


def _subject_section(title: str, rows: dict[str, str]) -> str:
    lines = "".join(f"| {attempt} | {result} |\n" for attempt, result in rows.items())
    return f"## {title}\n| tried | came of it |\n|---|---|\n{lines}"


__doc__ = _page()
