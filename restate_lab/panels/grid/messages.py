"""The messages of a view to its grid: one frozen value per message, validated before it is handled.

A message identifies a row by the number that the grid assigned to its id, so it never means another row than the user
saw. ``members`` is the version of the rows and their order that the user saw.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field, TypeAdapter, ValidationError

from restate_lab.errors import ArgumentError
from restate_lab.panels._base.content import ViewMessage

MOST_ROWS = 200  # in one page

_View = Annotated[str, Field(min_length=1, max_length=40)]
_Row = Annotated[int, Field(ge=0, lt=2**53)]
_Name = Annotated[str, Field(max_length=200)]


class _GridMessage(ViewMessage):
    """A message; ``view`` is the view that sent it."""

    view: _View


class Heartbeat(_GridMessage):
    """The view is open; ``in_sight`` is whether the user can see it. ``state`` requests the state."""

    type: Literal["alive"]
    in_sight: bool
    state: bool = False


class Close(_GridMessage):
    """The view was closed."""

    type: Literal["close"]


class Page(_GridMessage):
    """Request the cells of these rows; ``find`` is a row whose place is also requested."""

    type: Literal["page"]
    seq: int
    start: _Row
    count: Annotated[int, Field(ge=0, le=MOST_ROWS)]
    find: _Row | None = None


class Detail(_GridMessage):
    """Request the full text of one cell."""

    type: Literal["detail"]
    seq: int
    row: _Row
    column: _Name


class Select(_GridMessage):
    """Select or deselect a row."""

    type: Literal["select"]
    row: _Row
    on: bool


class Extend(_GridMessage):
    """Select the rows between two rows."""

    type: Literal["extend"]
    start: _Row
    end: _Row
    members: int


class SelectAll(_GridMessage):
    """Select or deselect all rows that match the filter."""

    type: Literal["select_all"]
    on: bool
    members: int


class Command(_GridMessage):
    """Clear the selection, restore it, or sort the rows even if the pointer or the focus is in the table."""

    type: Literal["clear", "restore", "sort_again"]


class Hold(_GridMessage):
    """The pointer or the focus entered the table, or both left it; rows do not move in between."""

    type: Literal["hold"]
    on: bool


class OpenRow(_GridMessage):
    """Open a row."""

    type: Literal["open_row"]
    row: _Row


class EmptyAction(_GridMessage):
    """The button in the empty table was clicked."""

    type: Literal["empty_action"]


class Expand(_GridMessage):
    """Expand or collapse the rows of a group."""

    type: Literal["expand"]
    row: _Row
    on: bool


class SortBy(_GridMessage):
    """Sort the rows; a ``column`` of None restores the order of the frame."""

    type: Literal["sort"]
    column: _Name | None
    descending: bool = False


class FilterBy(_GridMessage):
    """Filter the rows; ``within`` is a column, or None for all columns."""

    type: Literal["filter"]
    text: Annotated[str, Field(max_length=1000)]
    within: _Name | None = None


class SearchServer(_GridMessage):
    """The owner is to open the id in a text, or to search further for the text; the filter becomes empty."""

    type: Literal["search"]
    text: Annotated[str, Field(max_length=100_000)]


class ShowColumn(_GridMessage):
    """Show or hide a column."""

    type: Literal["column"]
    column: _Name
    shown: bool


class Export(_GridMessage):
    """Export the selected rows, or all that match the filter; "ids" copies the ids if they are not too many."""

    type: Literal["export"]
    form: Literal["csv", "xlsx", "ids", "txt"]


class Width(_GridMessage):
    """Set the width of a column, in pixels."""

    type: Literal["width"]
    column: _Name
    pixels: Annotated[int, Field(ge=40, le=2000)]


Message: TypeAlias = (
    Heartbeat
    | Close
    | Command
    | Detail
    | EmptyAction
    | Expand
    | Export
    | Extend
    | FilterBy
    | Hold
    | OpenRow
    | Page
    | SearchServer
    | Select
    | SelectAll
    | ShowColumn
    | SortBy
    | Width
)

_ADAPTER: TypeAdapter[Message] = TypeAdapter(Annotated[Message, Field(discriminator="type")])


def parse(content: object) -> Message:
    """Return the message that a view sent.

    Raises:
        ArgumentError: the message is invalid; the text names the invalid fields but not their values.
    """
    try:
        return _ADAPTER.validate_python(content)
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(map(str, each['loc'])) or 'message'}: {each['msg'][:200]}"
            for each in error.errors(include_input=False, include_url=False, include_context=False)[:3]
        )
        raise ArgumentError(f"the table view sent an invalid message ({wrong}). Reload the page.") from error
