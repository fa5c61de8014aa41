"""The options of this command line in place of arguments in Python, in messages and in texts of results."""

from __future__ import annotations

import re

_PRICE = "--price '*=2.5,1.25,10' for every model (US dollars per million tokens: input, cached input, output)"
_IN_A_SHELL = (
    (re.compile(r"\btimeout=…?(?=[ ,.;)]|$)"), "--timeout"),
    (re.compile(r"pass a higher limit=, or limit=None"), "add a higher -p limit=N, or -p limit=none"),
    (re.compile(r"\b(overwrite|payloads|force|search)=True\b"), r"--\1"),
    (re.compile(r"\ballow_network=True\b"), "--allow-network"),
    (re.compile(r"\bpass cluster_name=,"), "add --cluster-name,"),
    (re.compile(r"(?<!-)\bpartitions is only for"), "--partitions is only for"),
    (re.compile(r'\bpass checks="upgrade", or omit it'), "add --check upgrade"),
    (re.compile(r"\bthe path that freeze\(\) returned"), "the path that restate-lab freeze printed"),
    (re.compile(r'\bpayloads="shape"'), "--payloads shape"),
    (re.compile(r'\bconnect\("host:9070"\), or an environment of the restate CLI'), "-e host:9070, or -e NAME"),
    (re.compile(r'\bconnect\("(http[^"]+)"\)'), r"-e \1"),
    (re.compile(r"Pass (\w+)=…"), r"Add -p \1=…"),
    (re.compile(r" requires (\w+)= \("), r" requires -p \1=… ("),
    (re.compile(r"\bexpect=(?=\w)"), "--expect "),
    (re.compile(r"^expect is "), "--expect is "),
    (re.compile(r"\bconnect to (\S+), or make a new plan"), r"add -e \1, or make a new plan"),
    (re.compile(r'such as rl\.ask\(lab, "retry_storm_ids", service="Payments"\)'), "or add --question retry_storm_ids"),
    (re.compile(r": see plan\.impact\."), "; --json lists them."),
    (re.compile(r'\bkey="([^"]*)"'), r'--key "\1"'),
    (re.compile(r'Pass "Service/key", or a longer since='), "Add --key Service/key, or a longer --since"),
    (re.compile(r": plan\.replay has the reasons\."), "."),
    (re.compile(r"\bcheck= checks this first"), "only Python can check this first, with check="),
    (re.compile(r"\brestate_lab\.move_to\(\)"), "restate-lab plan move-to"),
    (re.compile(r"\brestate_lab\.plan\(\)"), "restate-lab plan restart-as-new"),
    (re.compile(r"pass prices= with the exact name, or with '\*'"), f"add {_PRICE}, or --price NAME=… for one"),
    (re.compile(r"or pass prices="), f"or add {_PRICE}"),
    (
        re.compile(r"pass shapes=\[function\], which returns a ModelStep for such a payload \(rl\.journal shows"),
        "only Python can read it, with shapes=[function] (restate-lab journal shows",
    ),
)


def in_a_shell(text: str) -> str:
    """Return a text with the options of this command line in place of arguments in Python."""
    for pattern, replacement in _IN_A_SHELL:
        text = pattern.sub(replacement, text)
    return text
