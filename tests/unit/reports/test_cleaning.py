"""HTML that others made, without what acts or loads."""

from __future__ import annotations

import pytest

from restate_lab.reports.notebook.sanitizer import cleaned, from_markdown

DOT = "data:image/png;base64,iVBORw0KGgo="


@pytest.mark.parametrize(
    "html",
    [
        "<script>alert(1)</script>",
        "<script>alert(1)",
        "<SCRIPT src=//e.example/x></SCRIPT>",
        "<style>p{background:url(//e.example/x)}</style>",
        '<p style="background:url(//e.example/x)">x</p>',
        '<p style="background:u\\72l(//e.example/x)">x</p>',
        "<p style=\"background-image:image-set('//e.example/x')\">x</p>",
        "<img src=//e.example/x>",
        "<img src=x onerror=alert(1)>",
        '<img src="data:text/html;base64,PHNjcmlwdD4=">',
        '<img srcset="//e.example/x 2x">',
        '<a href="javascript:alert(1)">x</a>',
        '<a href=" java\nscript:alert(1)">x</a>',
        '<iframe src="//e.example/x"></iframe>',
        '<object data="//e.example/x"></object>',
        '<svg><image href="//e.example/x"/></svg>',
        '<svg onload="alert(1)">',
        '<form action="//e.example/x"><input><button>go</button></form>',
        '<link rel=stylesheet href="//e.example/x">',
        '<meta http-equiv="refresh" content="0;url=//e.example/x">',
        '<base href="//e.example/">',
        '<video src="//e.example/x"></video>',
        "<div onclick=alert(1)>x</div>",
        "<math><mtext><style><img src=x onerror=alert(1)></style>",
        "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
        '<a href="#" ping="//e.example/x">x</a>',
    ],
)
def test_nothing_acts_and_nothing_loads(html: str) -> None:
    """Scripts, handlers, foreign addresses, styles that load, frames and forms are gone."""
    clean = cleaned(html).lower()
    for each in (
        "e.example",
        "alert",
        "<script",
        "<style",
        "<iframe",
        "<form",
        "<svg",
        "onerror",
        "srcset",
        "text/html",
    ):
        assert each not in clean, clean


def test_what_is_to_be_read_stays() -> None:
    """Tables, plain styles, pictures that are in the page, and links that lead away when followed."""
    html = (
        f'<div style="color: red; border-left: 4px solid"><b>x</b><img alt="a" src="{DOT}">'
        '<table class="dataframe"><tr><td>1</td></tr></table><a href="https://docs.example/">d</a>'
        "<details open><summary>s</summary>t</details></div>"
    )
    clean = str(cleaned(html))
    for each in (
        "color: red",
        "border-left: 4px solid",
        DOT,
        'class="dataframe"',
        "https://docs.example/",
        "<summary>",
    ):
        assert each in clean


def test_a_picture_that_is_elsewhere_is_said() -> None:
    """A picture that would have been loaded leaves a word in its place."""
    assert "a picture that is not in this file" in cleaned("<img src='https://e.example/x.png'>")


def test_markdown() -> None:
    """Markdown is rendered, raw HTML in it is cleaned, and attached pictures are in it."""
    clean = str(
        from_markdown("**b** <i onclick=x>i</i> ![p](attachment:a.png)", {"a.png": {"image/png": "iVBO\nRw=="}})
    )
    assert "<strong>b</strong>" in clean
    assert "onclick" not in clean
    assert "data:image/png;base64,iVBORw==" in clean
