"""What a view may say to its grid: one frozen value for each message, checked before anything is done.

Rows are named by the number that the grid gave to their id, so that a message never means another row than the one
that was seen. ``members`` is the number of the view that the reader saw: which rows there were, in which order.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field, TypeAdapter, ValidationError

from restate_lab.errors import ArgumentError
from restate_lab.panels._base.content import ViewMessage

__all__ = [
    "Clear",
    "Close",
    "CloseRow",
    "Detail",
    "EmptyAction",
    "Expand",
    "Extend",
    "FilterBy",
    "Heartbeat",
    "Hold",
    "Message",
    "OpenRow",
    "Page",
    "Restore",
    "SearchServer",
    "Select",
    "SelectAll",
    "ShowColumn",
    "SortAgain",
    "SortBy",
    "Width",
    "parse",
]

MOST_ROWS = 200  # of one page

_View = Annotated[str, Field(min_length=1, max_length=40)]
_Row = Annotated[int, Field(ge=0, lt=2**53)]
_Name = Annotated[str, Field(max_length=200)]


class _GridMessage(ViewMessage):
    """A message; ``view`` is the view that sent it."""

    view: _View


class Heartbeat(_GridMessage):
    """The view is open; ``in_sight`` is whether a reader can see it. ``state`` asks for the state."""

    type: Literal["alive"]
    in_sight: bool
    state: bool = False


class Close(_GridMessage):
    """The view was closed."""

    type: Literal["close"]


class Page(_GridMessage):
    """It wants the cells of these rows; ``find`` is a row whose place it wants to know."""

    type: Literal["page"]
    seq: int
    start: _Row
    count: Annotated[int, Field(ge=0, le=MOST_ROWS)]
    find: _Row | None = None


class Detail(_GridMessage):
    """It wants all of one cell."""

    type: Literal["detail"]
    seq: int
    row: _Row
    column: _Name


class Select(_GridMessage):
    """A row was selected, or taken out."""

    type: Literal["select"]
    row: _Row
    on: bool


class Extend(_GridMessage):
    """The rows between two were selected."""

    type: Literal["extend"]
    start: _Row
    end: _Row
    members: int


class SelectAll(_GridMessage):
    """All rows that the filter leaves were selected, or taken out."""

    type: Literal["select_all"]
    on: bool
    members: int


class Clear(_GridMessage):
    """Nothing is to be selected."""

    type: Literal["clear"]


class Hold(_GridMessage):
    """The pointer or the focus has entered the table, or both have left it: meanwhile rows do not move."""

    type: Literal["hold"]
    on: bool


class SortAgain(_GridMessage):
    """The rows are to be sorted, although the pointer or the focus is in the table."""

    type: Literal["sort_again"]


class Restore(_GridMessage):
    """What was selected before it was cleared is to be selected again."""

    type: Literal["restore"]


class CloseRow(_GridMessage):
    """What was opened for a row is to be closed."""

    type: Literal["close_row"]


class OpenRow(_GridMessage):
    """A row was opened."""

    type: Literal["open_row"]
    row: _Row


class EmptyAction(_GridMessage):
    """The button that the owner put into the empty table was clicked."""

    type: Literal["empty_action"]


class Expand(_GridMessage):
    """The rows of a group are to be shown below its line, or its line alone."""

    type: Literal["expand"]
    row: _Row
    on: bool


class SortBy(_GridMessage):
    """The order was chosen; ``column`` None is the frame's own."""

    type: Literal["sort"]
    column: _Name | None
    descending: bool = False


class FilterBy(_GridMessage):
    """A filter was typed; ``within`` is a column, or None for all."""

    type: Literal["filter"]
    text: Annotated[str, Field(max_length=1000)]
    within: _Name | None = None


class SearchServer(_GridMessage):
    """Enter was pressed in the filter: the owner may search the server for the text."""

    type: Literal["search"]
    text: Annotated[str, Field(max_length=1000)]


class ShowColumn(_GridMessage):
    """A column was taken in or out."""

    type: Literal["column"]
    column: _Name
    shown: bool


class Width(_GridMessage):
    """A column was made wider or narrower, in pixels."""

    type: Literal["width"]
    column: _Name
    pixels: Annotated[int, Field(ge=40, le=2000)]


Message: TypeAlias = (
    Heartbeat
    | Clear
    | Close
    | CloseRow
    | Detail
    | EmptyAction
    | Expand
    | Extend
    | FilterBy
    | Hold
    | OpenRow
    | Page
    | Restore
    | SearchServer
    | Select
    | SelectAll
    | ShowColumn
    | SortAgain
    | SortBy
    | Width
)

_ADAPTER: TypeAdapter[Message] = TypeAdapter(Annotated[Message, Field(discriminator="type")])


def parse(content: object) -> Message:
    """Return the message that a view sent.

    Raises:
        ArgumentError: it is none of them; the text names the fields that are wrong, and not what stood in them.
    """
    try:
        return _ADAPTER.validate_python(content)
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(map(str, each['loc'])) or 'message'}: {each['msg'][:200]}"
            for each in error.errors(include_input=False, include_url=False, include_context=False)[:3]
        )
        raise ArgumentError(f"the table's view sent what it may not send ({wrong}). Reload the page.") from error
