"""The runs of agents with their tokens and cost, and one run as a conversation, read from journals."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import pandas as pd

from restate_lab.analysis.agents.builder import ConversationBuilder, SearchedJournal
from restate_lab.analysis.agents.entries import ShapeFunction, check_shapes
from restate_lab.analysis.agents.notes import NOT_STORED
from restate_lab.analysis.agents.prices import Price, PriceTable, price_table
from restate_lab.analysis.agents.reader import MOST_RUNS, AgentReader, RunSelection, select_runs
from restate_lab.analysis.agents.result import Conversation
from restate_lab.analysis.agents.summary import WASTEFUL, RunJournals, summarize
from restate_lab.analysis.ids import Targets, invocation_id_in
from restate_lab.analysis.journal.reader import JournalReader
from restate_lab.analysis.times import TimeInput
from restate_lab.client.arguments import check_count
from restate_lab.client.schema import translate_errors
from restate_lab.durations import DurationInput
from restate_lab.errors import Truncated
from restate_lab.reads import begin
from restate_lab.source import Source, decoding_of


@translate_errors
def agent_runs(
    source: Source,
    /,
    *,
    service: str | None = None,
    since: TimeInput = "24h",
    ids: Targets = None,
    shapes: Sequence[ShapeFunction] = (),
    prices: Mapping[str, Price] | None = None,
    limit: int = MOST_RUNS,
    timeout: DurationInput | None = "2m",
) -> pd.DataFrame:
    """Return the runs of agents, from their journals: one row per invocation with a response of a model, newest first.

        rl.agent_runs(lab, service="agent")

    A step is a response of a model if its payload has one of the shapes that the integrations of Restate write
    (OpenAI Agents, Pydantic AI, LangChain, ADK, Vercel AI), or is a response of a provider as it is (OpenAI and servers
    like it, Anthropic, Gemini, Bedrock Converse, Cohere, Ollama), or one of ``generateText`` or of Restate's reference
    agent. It may be in up to three objects. ``shapes`` are your own functions from a payload to a ``ModelStep`` or
    None. No payload is shown.

    ``since``: the invocations that were created since then (an age, or a time with its zone), at most the ``limit``
    newest ones, of one ``service`` or all. ``ids`` selects invocations instead (an id, a list, or a frame), also those
    without a response. ``prices`` has your own prices in US dollars per million tokens, by the exact name of the model:
    ``{"my-model": (input, cached input, output)}``; "*" is for every other model. Input that was written to a cache
    costs as much as other input there. Other prices come from the package genai-prices (the extra ``agents``), which
    has a price for it. ``timeout`` is for the whole call.

    Columns; None is unknown, never 0: ``id, service, handler, key, status, created_at, completed_at`` (UTC),
    ``framework, models, model_calls, tool_calls, retries, input_tokens, cached_tokens, output_tokens,
    reasoning_tokens, spent_tokens, wasted_tokens, saved_tokens, possibly_paid_calls, cost`` (US dollars), ``model_s,
    tools_s, people_s, backoff_s`` (seconds), ``restarted_from, invoked_by_id, note``. ``frame.attrs`` has
    ``invocations, encoded, without_payloads, without_journal, unpriced, cost_note, queries, truncated``.
    ``help("restate_lab.guide.columns")`` explains all of them.

    Raises:
        ArgumentError: an argument is invalid, or a function in ``shapes`` failed.
        NotOnThisServer: the source is too old, or is evidence without payloads.
        TimedOut: not everything was read within ``timeout``.
        RestateLabError: any error of ``source.arrow``.
    """
    frame = read_agent_runs(
        source, service=service, since=since, ids=ids, shapes=shapes, prices=prices, limit=limit, timeout=timeout
    )
    if "truncated" in frame.attrs:
        message = f"agent_runs() is incomplete: {frame.attrs['truncated']['message']}."
        warnings.warn(message, Truncated, stacklevel=3)  # the caller of the decorated function
    return frame


@translate_errors
def read_agent_runs(
    source: Source,
    /,
    *,
    service: str | None = None,
    since: TimeInput = "24h",
    ids: Targets = None,
    shapes: Sequence[ShapeFunction] = (),
    prices: Mapping[str, Price] | None = None,
    limit: int = MOST_RUNS,
    timeout: DurationInput | None = None,
) -> pd.DataFrame:
    """Return the frame of ``agent_runs`` without its warning, for callers that report it in another way.

    Raises:
        The same errors as ``agent_runs``.
    """
    functions, table = check_shapes(shapes), price_table(prices)
    reads = begin(source, "agent_runs", timeout)
    reader = AgentReader(reads, decoding_of(source))
    selection = select_runs(reader, service=service, since=since, ids=ids, limit=limit)
    frame = runs_frame(reader, selection, functions, table)
    frame.attrs |= {"source": reads.name, "version": reads.version, "read_at": reads.now.isoformat()}
    frame.attrs["queries"] = reads.queries
    return frame


def runs_frame(
    reader: AgentReader, selection: RunSelection, shapes: Sequence[ShapeFunction], prices: PriceTable
) -> pd.DataFrame:
    """Return the frame of ``agent_runs`` for a selection of invocations."""
    rows, scope, now = selection.rows, selection.scope, reader.source.now
    found = reader.model_steps(list(rows), shapes, scope, has_text=False)
    models = reader.encoded_calls(found, rows)
    # runs without a scope were chosen, so all of them have a row
    wanted = {id_: row for id_, row in rows.items() if scope is None or id_ in models}
    errors = reader.errors(list(wanted), scope) if reader.has_events else None
    journals = RunJournals(
        wanted,
        list(reader.tables(wanted, scope)),
        models,
        errors,
        reader.copies([id_ for id_, row in wanted.items() if row["status"] in WASTEFUL]),
        reader.redone([id_ for id_, row in wanted.items() if row["restarted_from"] or id_ in (errors or ())]),
    )
    frame = summarize(journals, prices, now)
    frame.attrs = {
        "invocations": len(rows),
        "encoded": sum(any(how != NOT_STORED for how in each.encoded.values()) for each in found.values()),
        "without_payloads": sum(NOT_STORED in each.encoded.values() for each in found.values()),
        "without_journal": sum(not row["journal_size"] and row["ended"] for row in rows.values()),
        "unpriced": list(prices.unpriced),
        "cost_note": prices.note,
        **selection.attrs,
    }
    return frame


@translate_errors
def conversation(
    source: Source,
    invocation_id: str,
    /,
    *,
    depth: int = 1,
    session: bool = False,
    shapes: Sequence[ShapeFunction] = (),
    prices: Mapping[str, Price] | None = None,
    timeout: DurationInput | None = "30s",
) -> Conversation:
    """Return the journal of an agent's invocation as a conversation: messages, responses, tool calls and results.

        rl.conversation(lab, id)            # a card like a chat; print() shows text
        rl.conversation(lab, id).frame      # one row per turn

    It shows prompts, responses, and arguments and results of tools: these are payloads. Headers of providers, encrypted
    reasoning and signatures are never read, and secret headers in results are masked.

    ``depth=2`` also reads the invocations that it called, and inserts their turns. ``session=True`` reads all
    invocations of the same object, at most the 100 newest, oldest first. ``shapes`` and ``prices`` are those of
    ``agent_runs``. ``timeout`` is for the whole call.

    ``help(rl.Conversation)`` describes the columns of ``frame``.

    ``messages()`` returns it in the format of chat completions, ``open_turn`` is the turn that it executes, waits for
    or fails at, and ``tokens`` has the journaled tokens. ``not_read`` explains what is missing: an invocation without a
    response of a model is not an error, and its other steps are shown. Payloads above 16 MiB, and those that are nested
    too deeply, are not read. Of a journal with more than 20,000 entries, only those near calls of models are read; a
    note has what is missing. Only Vercel AI writes its prompts to the journal.

    Raises:
        ArgumentError: an argument is invalid, a function in ``shapes`` failed, or ``session`` without a key.
        NotFound: the invocation does not exist, or no longer exists.
        NotOnThisServer: the source is too old, or is evidence without payloads.
        TimedOut: not everything was read within ``timeout``.
        RestateLabError: any error of ``source.arrow``.
    """
    id_ = invocation_id_in(invocation_id)
    levels = check_count("depth", depth, least=1)
    builder = _conversation_builder(source, shapes, prices, timeout)
    return builder.conversation(id_, depth=levels, session=session)


def read_conversation(
    source: Source,
    invocation_id: str,
    *,
    timeout: DurationInput | None = "30s",
    searched: SearchedJournal | None = None,
) -> Conversation:
    """Return what ``conversation`` does by default; a very long journal that was ``searched`` is not searched again."""
    builder = _conversation_builder(source, (), None, timeout)
    builder.searched = searched
    return builder.conversation(invocation_id)


def _conversation_builder(
    source: Source,
    shapes: Sequence[ShapeFunction],
    prices: Mapping[str, Price] | None,
    timeout: DurationInput | None,
) -> ConversationBuilder:
    functions, table = check_shapes(shapes), price_table(prices)
    reads = begin(source, "conversation", timeout)
    reader = AgentReader(reads, decoding_of(source))
    reader.check_payloads()
    return ConversationBuilder(reads, reader, JournalReader(reads), functions, table)
