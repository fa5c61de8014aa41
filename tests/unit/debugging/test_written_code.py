"""The code and the names of a written test: no text of a cluster, valid Python, and files that replace no other."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from restate_lab.debugging.to_test.files import check_files, check_folder, write_files
from restate_lab.debugging.to_test.python import KINDS, check_app, stem_of, write_test
from restate_lab.errors import ArgumentError

ID = "inv_1lIyp2ByO1ey35cGbU0hywb06imDxMEZvH"
NONE: frozenset[str] = frozenset()


def test_the_names_of_the_files_are_those_of_the_handler_and_the_end_of_the_id() -> None:
    assert stem_of("CheckoutFlow", "placeOrder", ID) == "checkout_flow_place_order_mdxmezvh"


@given(st.text(max_size=60), st.text(max_size=60), st.text(max_size=60))
def test_any_names_give_a_plain_name_of_a_file(service: str, handler: str, id_: str) -> None:
    stem = stem_of(service, handler, id_)
    assert re.fullmatch(r"[a-z0-9]\w{0,70}", stem, re.ASCII)
    assert stem.encode().decode("ascii")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("package", ["", "restate_lab_testing"])
def test_a_test_is_about_15_lines_of_python(kind: str, package: str) -> None:
    text = write_test(
        "orders_place_1", "journals/orders_place_1.json", "shop.app:app", kind=kind, last=7, package=package
    )
    tree = ast.parse(text)
    assert [each.name for each in tree.body if isinstance(each, ast.FunctionDef)] == ["test_orders_place_1"]
    assert len(text.splitlines()) <= 19
    assert max(map(len, text.splitlines())) <= 120


@pytest.mark.parametrize(
    "app",
    [
        "",
        "shop.app:",
        "shop app:app",
        "shop.app:app; import os",
        'x"""',
        "a:b()()",
        "a:b(1)",
        "../shop:app",
        7,
        None,
        object(),
    ],
)
def test_an_app_that_is_no_name_of_python_is_refused(app: object) -> None:
    with pytest.raises(ArgumentError, match="because the test imports it"):
        check_app(app)


@pytest.mark.parametrize("app", ["shop", "shop.app:app", "shop.app:create_app()", "shop.main:api.inner"])
def test_an_app_can_be_a_module_an_attribute_or_a_factory(app: str) -> None:
    assert check_app(app) == app


def test_a_file_is_replaced_only_with_force(tmp_path: Path) -> None:
    texts = {"journals/a.json": "{}", "test_a.py": "1\n"}
    check_files(tmp_path, texts, shared=NONE, force=False)
    assert write_files(tmp_path, texts, shared=NONE, force=False) == (
        tmp_path / "journals/a.json",
        tmp_path / "test_a.py",
    )
    (tmp_path / "test_a.py").write_text("mine\n")
    with pytest.raises(ArgumentError, match=r"a\.json already exists; pass force=True"):
        check_files(tmp_path, texts, shared=NONE, force=False)
    with pytest.raises(ArgumentError, match="already exists"):  # created between the check and the writing
        write_files(tmp_path, texts, shared=NONE, force=False)
    assert (tmp_path / "test_a.py").read_text() == "mine\n"
    write_files(tmp_path, texts, shared=NONE, force=True)
    assert (tmp_path / "test_a.py").read_text() == "1\n"
    assert sorted(each.name for each in tmp_path.rglob("*")) == ["a.json", "journals", "test_a.py"]


def test_a_shared_file_may_exist_with_the_same_text(tmp_path: Path) -> None:
    (tmp_path / "code.py").write_text("same\n")
    for text, is_refused in (("same\n", False), ("other\n", True)):
        if is_refused:
            with pytest.raises(ArgumentError):
                check_files(tmp_path, {"code.py": text}, shared=frozenset({"code.py"}), force=False)
        else:
            check_files(tmp_path, {"code.py": text}, shared=frozenset({"code.py"}), force=False)
            write_files(tmp_path, {"code.py": text}, shared=frozenset({"code.py"}), force=False)


def test_symbolic_links_lead_to_no_file_outside(tmp_path: Path) -> None:
    """A link in the place of a folder or a file is refused, also with force; the folder itself can be a link."""
    outside, folder, link = tmp_path / "outside", tmp_path / "tests", tmp_path / "link"
    outside.mkdir()
    folder.mkdir()
    link.symlink_to(folder)
    (outside / "kept.py").write_text("kept")
    (folder / "journals").symlink_to(outside)
    (folder / "test_a.py").symlink_to(outside / "kept.py")
    for name in ("journals/a.json", "test_a.py"):
        with pytest.raises(ArgumentError, match="symbolic link"):
            check_files(link, {name: "x"}, shared=NONE, force=True)
    check_files(link, {"test_b.py": "x"}, shared=NONE, force=False)
    write_files(link, {"test_b.py": "x"}, shared=NONE, force=False)
    assert (folder / "test_b.py").read_text() == "x"
    assert (outside / "kept.py").read_text() == "kept"


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ArgumentError, match="missing does not exist; create it"):
        check_folder(tmp_path / "missing")
    with pytest.raises(ArgumentError, match="file is not a folder"):
        check_folder(tmp_path / "file")
