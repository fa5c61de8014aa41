"""The pages: each function reads results of the library, and returns them as cards and as data.

A module has the pages of one topic. A part that could not be read gives the reason, and the rest of its page is shown.
"""

from __future__ import annotations

from collections.abc import Mapping

from restate_lab.serve.page import PageFunction
from restate_lab.serve.pages.analyses import (
    agents_page,
    contrast_page,
    question_page,
    questions_page,
    queues_page,
    waits_page,
)
from restate_lab.serve.pages.invocation import invocation_page
from restate_lab.serve.pages.invocations import invocations_page
from restate_lab.serve.pages.overview import first_page
from restate_lab.serve.pages.report import report_page
from restate_lab.serve.pages.story import story_page

PAGES: Mapping[str, PageFunction] = {
    "": first_page,
    "invocations": invocations_page,
    "invocation": invocation_page,
    "story": story_page,
    "waits": waits_page,
    "queues": queues_page,
    "contrast": contrast_page,
    "agents": agents_page,
    "questions": questions_page,
    "question": question_page,
    "report": report_page,
}
"""The name of a page, the first part of its path → its function."""
