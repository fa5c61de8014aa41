"""An IPython shell in this process, which restores its changes to the process afterwards."""

from __future__ import annotations

import atexit
import builtins
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from IPython.core.completer import provisionalcompleter
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config


@dataclass(frozen=True)
class Cell:
    value: Any
    error: BaseException | None
    shown: str


class Shell:
    """Runs cells as a notebook does."""

    def __init__(self, ip: InteractiveShell, capsys: pytest.CaptureFixture[str]) -> None:
        self.ip = ip
        self._capsys = capsys

    def run(self, cell: str) -> Cell:
        self._capsys.readouterr()
        ran = self.ip.run_cell(cell)
        shown = self._capsys.readouterr()
        return Cell(ran.result, ran.error_before_exec or ran.error_in_exec, shown.out + shown.err)

    def complete(self, text: str) -> list[str]:
        """Return the completions at the | in the text, in the order of the menu, each with its type."""
        at = text.index("|")
        with provisionalcompleter():
            found = list(self.ip.Completer.completions(text.replace("|", "", 1), at))
        assert len({(each.start, each.end) for each in found}) <= 1
        return [f"{each.text} {each.type}" for each in found]


@contextmanager
def shell(capsys: pytest.CaptureFixture[str]) -> Iterator[Shell]:
    """Give a shell without a history and without colours."""
    config = Config()
    config.HistoryManager.enabled = False
    config.InteractiveShell.colors = "nocolor"
    config.Completer.use_jedi = False
    before = {name: getattr(builtins, name, None) for name in ("display", "__IPYTHON__")}
    hook, no_color = sys.excepthook, os.environ.get("NO_COLOR", "")
    os.environ["NO_COLOR"] = "1"
    ip = InteractiveShell(config=config)
    try:
        yield Shell(ip, capsys)
    finally:
        atexit.unregister(ip.atexit_operations)  # it collects garbage for a second, and would keep the shell until then
        ip.restore_sys_module_state()
        sys.excepthook = hook
        os.environ["NO_COLOR"] = no_color  # "" counts as not set
        for name, value in before.items():
            if value is None:
                delattr(builtins, name)
