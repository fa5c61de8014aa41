"""Write a test from the journal of an invocation: a record that a person can review, and a test that replays it."""

from __future__ import annotations

import os
from collections.abc import Iterable

from restate_lab.client.schema import translate_errors
from restate_lab.debugging import read_record
from restate_lab.debugging.to_test.files import check_folder
from restate_lab.debugging.to_test.forms import WritingOptions
from restate_lab.debugging.to_test.result import RecordedTest
from restate_lab.debugging.to_test.writer import Origin, write_recorded_test
from restate_lab.durations import DurationInput
from restate_lab.source import Source


@translate_errors
def to_test(
    source: Source,
    invocation_id: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    /,
    *,
    app: str,
    mask: str | Iterable[str] | None = None,
    force: bool = False,
    standalone: bool = False,
    allow_network: bool = False,
    runner: str | None = None,
    timeout: DurationInput = "30s",
) -> RecordedTest:
    """Write a test that replays the journal of an invocation on your code, and return what it does.

        rl.to_test(lab, id, "tests", app="shop.app:app", mask=["$.customer.email"])

    Two files are written: ``journals/<name>.json``, the record, with one line for each entry, and ``test_<name>.py``, a
    test of about 15 lines for pytest. Both are yours from then on: a second call replaces them only with ``force``. The
    code of the test has no text of the cluster. Before anything is written, the handler is run once on the record in
    this process, as ``debug`` does: **no step runs**, but code outside of steps does, and so does the module of the
    app. ``outcome`` is the result of this run, and ``notes`` has what could use the network all the same. The test
    compares which commands the code issues and what it returns, but not the length of a sleep or of a delay.

    ``invocation_id``: an id, any text with exactly one, or the path of a record file. ``folder``: an existing folder,
    such as "tests". ``app``: "package.module:attribute", or "package.module:create_app()" for a factory; the test
    imports it. For TypeScript and JavaScript, it is a file and the services that it exports, "src/app.ts:orders"; the
    files are then the record, ``<name>.test.mjs`` for the ``runner`` "node" (the default) or "vitest", and a helper.

    ``mask``: paths such as ``$.customer.email``, names such as ``email``, or ``$`` for all texts, in inputs, results,
    arguments and state. A masked text has as many characters, and the same text has the same mask everywhere in the
    record. Numbers, dates and UUIDs are masked only if the last step of a path names them. The values of secret
    headers, and of fields with a secret name such as "password", are always masked, and the headers of the input are
    not written. For a masked record, the test does not compare payloads.

    ``standalone`` also writes the testing code beside a test for pytest, which then needs no restate_lab.
    ``allow_network`` lets code outside of steps use the network and start programs in this run. ``timeout`` is the
    limit for reading the journal; the handler may take 10 seconds.

    Raises:
        ArgumentError: a file exists, the folder does not, a mask changes the outcome, or ``app`` is not found. Nothing
            is written then.
        NotFound: there is no such invocation.
        NotReplayable: its journal was purged, has no payloads or masked ones, or has the form of an old server.
        NetworkRefused: the code used the network, or started a program, outside of a step.
        TimedOut: the journal was not read, or the code did not end, in time.
    """
    options = WritingOptions(app, mask, force, standalone, allow_network, runner)
    target = check_folder(folder)
    record = read_record(source, invocation_id, timeout=timeout)
    return write_recorded_test(record, target, options, Origin(source.name, source.version, source.now))
