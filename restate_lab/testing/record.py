"""A record in a test: load it, and run the user's code on it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from restate_lab.protocol.entries import payload_bytes
from restate_lab.testing.answers import with_results
from restate_lab.testing.journal import Journal, read_journal
from restate_lab.testing.outcome import Outcome, parse_value
from restate_lab.testing.replay import Options, replay_journal

_LIMIT = 10.0  # seconds for one call of the handler


@dataclass(frozen=True, slots=True, repr=False)
class Record:
    """An invocation that was recorded in production, to be replayed on code in this process.

        record = Record.load(__file__, "journals/checkout.json")
        record.run("shop.app:app")

    There is no server and no socket, and **no step runs**: each gets its recorded result. Code outside of steps runs,
    and so does the module of the app.
    """

    journal: Journal

    @classmethod
    def load(cls, *path: str | os.PathLike[str]) -> Record:
        """Return the record in a file; with ``__file__`` first, the path is relative to the folder of the test.

        Raises:
            UnusableRecord: there is no such file, or it is not a record.
        """
        first, *more = map(Path, path)
        return cls(read_journal(first.parent.joinpath(*more) if more else first))

    @property
    def returned(self) -> Any:
        """Return what the handler returned in production: parsed JSON, else a text or bytes; None if it did not."""
        last = self.journal.entries[-1] if self.journal.entries else {}
        is_value = last.get("type") == "Command: Output" and "value" in last
        return parse_value(payload_bytes(last["value"])) if is_value else None

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the record to a file, without the headers of the input, and return its path."""
        target = Path(path)
        target.write_text(self.journal.to_json(), "utf-8")
        return target

    def run(
        self,
        app: Any,
        *,
        answers: Mapping[str, Any] | None = None,
        results: Mapping[str, Any] | None = None,
        run_steps: Iterable[str] = (),
        check_payloads: bool | None = None,
        timeout: float | None = _LIMIT,
        allow_network: bool = False,
    ) -> Outcome:
        """Run the handler of an app on the record, and return what it did; raise what it raises.

        ``app``: "package.module:attribute", "package.module:create_app()", or an object: an app, an app of FastAPI or
        Starlette in which it is mounted, a service, a handler function. ``answers`` are results for commands after
        the record, or without a result in it: ``{"Run ship": "ok", "Payments/charge": {"id": 3}}``; an exception is a
        failure. ``results`` replace recorded ones. ``run_steps`` are names of steps without a result that really run.
        ``check_payloads``: whether the arguments of calls and the values of state must be the recorded ones; None means
        yes, unless the record is masked. ``timeout``: seconds for each call of the handler; None has no limit.
        ``allow_network`` lets code outside of steps use the network and start programs.

        Raises:
            Exception: what the handler raised, with the frames of the user's code only.
            Diverges: the code takes another path than the record.
            StepWithoutResult: it needs the result of a step that failed in production, or did not end.
            AppNotFound, HandlerNotFound, UnusableRecord: the code cannot be called with this record.
            NetworkUsed, ReplayTimedOut: the code used what is refused to it, or did not end.
            ValueError: ``answers`` or ``results`` has an unknown name, or a value that is not JSON.
        """
        __tracebackhide__ = True  # pytest begins in the user's code
        outcome = self.outcome(
            app,
            answers=answers,
            results=results,
            run_steps=run_steps,
            check_payloads=check_payloads,
            timeout=timeout,
            allow_network=allow_network,
        )
        outcome.raise_problem()
        return outcome

    def outcome(
        self,
        app: Any,
        *,
        answers: Mapping[str, Any] | None = None,
        results: Mapping[str, Any] | None = None,
        run_steps: Iterable[str] = (),
        check_payloads: bool | None = None,
        timeout: float | None = _LIMIT,
        allow_network: bool = False,
        on_enter: Callable[[Any], object] | None = None,
    ) -> Outcome:
        """Return what ``run`` would raise or return, as an outcome; the arguments are those of ``run``.

        ``on_enter`` is called with the SDK's context each time that the handler is entered.

        Raises:
            ReplayError: the code was not called, used the network, or did not end.
        """
        steps = frozenset([run_steps] if isinstance(run_steps, str) else run_steps)
        checked = not self.journal.masked if check_payloads is None else check_payloads
        options = Options(answers or {}, steps, checked, timeout, allow_network, on_enter)
        return replay_journal(self.journal, with_results(self.journal, results or {}), app, options)

    def reproduces(self, app: Any, **options: Any) -> bool:
        """Return whether the handler fails with the error that it had in production; options are those of ``run``."""
        return self.outcome(app, **options).is_as_in_production

    def __repr__(self) -> str:
        journal = self.journal
        return f"<Record {journal.service}/{journal.handler} {journal.id}, {len(journal.entries)} entries>"
