"""The structure of the package in figures: its modules, their imports, and the length of functions.

``python tests/support/structure.py`` prints them, with ``--sizes`` the weight of each package instead. They are read
from the source, so nothing is imported; an import under ``TYPE_CHECKING`` or within a function counts like any other.
"""

from __future__ import annotations

import ast
import gc
import statistics
import sys
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import networkx as nx

PACKAGE = Path(__file__).parents[2] / "restate_lab"
TESTS = PACKAGE.parent / "tests"
SMALL = 60  # lines; a smaller module that only one other module imports may be a part of that one


class Weight(NamedTuple):
    """How much code there is. Denser code has fewer statements of more expressions, so neither says it alone."""

    statements: int
    expressions: int


@dataclass(frozen=True)
class Structure:
    """The modules of a package, by dotted name."""

    package: Path = PACKAGE

    @cached_property
    def files(self) -> dict[str, Path]:
        return {_name(path, self.package): path for path in sorted(self.package.rglob("*.py"))}

    @cached_property
    def trees(self) -> dict[str, ast.Module]:
        """Return the syntax tree of each module; garbage collections would make it three times as slow."""
        gc.disable()
        try:
            return {name: ast.parse(path.read_text("utf-8")) for name, path in self.files.items()}
        finally:
            gc.freeze()  # the trees stay
            gc.enable()

    @cached_property
    def weights(self) -> dict[str, Weight]:
        """Return the weight of each module."""
        return {name: _weight(tree) for name, tree in self.trees.items()}

    @property
    def weight(self) -> Weight:
        return _sum(self.weights.values())

    @cached_property
    def lines(self) -> dict[str, int]:
        return {name: path.read_text("utf-8").count("\n") for name, path in self.files.items()}

    @cached_property
    def imports(self) -> nx.DiGraph:
        """Return an edge from each module to each module of the package that it imports."""
        graph = nx.DiGraph()
        graph.add_nodes_from(self.files)
        for name, tree in self.trees.items():
            graph.add_edges_from((name, other) for other in _imported(tree, self.files) if other != name)
        return graph

    @property
    def cycles(self) -> list[list[str]]:
        return [sorted(group) for group in nx.strongly_connected_components(self.imports) if len(group) > 1]

    @property
    def small_with_one_importer(self) -> list[str]:
        return sorted(name for name, lines in self.lines.items() if lines < SMALL and self.imports.in_degree(name) == 1)

    @property
    def modules_of_folders(self) -> Mapping[str, int]:
        return Counter(str(path.parent.relative_to(self.package.parent)) for path in self.files.values())

    @cached_property
    def definitions(self) -> list[tuple[str, str, ast.AST]]:
        kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        return [
            (module, node.name, node)
            for module, tree in self.trees.items()
            for node in ast.walk(tree)
            if isinstance(node, kinds)
        ]

    @property
    def repeated_classes(self) -> dict[str, list[str]]:
        """Return the names that several classes have, with the modules of these classes."""
        modules = defaultdict(list)
        for module, name, node in self.definitions:
            if isinstance(node, ast.ClassDef):
                modules[name].append(module)
        return {name: where for name, where in modules.items() if len(where) > 1}

    @cached_property
    def bodies(self) -> list[int]:
        """Return the lines of each function's body without its docstring, shortest first."""
        functions = (
            node for _, _, node in self.definitions if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        )
        return sorted(_body_length(node) for node in functions)

    @cached_property
    def figures(self) -> dict[str, int | float]:
        lines, count = sorted(self.lines.values()), len(self.files)
        return {
            "modules": count,
            "lines": sum(lines),
            "statements": self.weight.statements,
            "expressions": self.weight.expressions,
            "lines of a module, median": statistics.median(lines),
            "lines of a module, 90th percentile": lines[int(count * 0.9)],
            "lines of a module, most": lines[-1],
            "percent with one importer and under 60 lines": round(100 * len(self.small_with_one_importer) / count, 1),
            "most modules in a folder": max(self.modules_of_folders.values()),
            "import cycles": len(self.cycles),
            "names of several classes": len(self.repeated_classes),
            "functions": len(self.bodies),
            "lines of a function, median": statistics.median(self.bodies),
            "lines of a function, 90th percentile": self.bodies[int(len(self.bodies) * 0.9)],
            "lines of a function, 99th percentile": self.bodies[int(len(self.bodies) * 0.99)],
            "lines of a function, most": self.bodies[-1],
        }


STRUCTURE = Structure()


def _weight(tree: ast.Module) -> Weight:
    nodes = list(ast.walk(tree))
    statements = sum(isinstance(node, ast.stmt) for node in nodes)
    return Weight(statements, sum(isinstance(node, ast.expr) for node in nodes))


def _sum(weights: Collection[Weight]) -> Weight:
    return Weight(sum(each.statements for each in weights), sum(each.expressions for each in weights))


def _print_sizes() -> None:
    """Print statements and expressions of each package, and of the tests; those of a package include its packages."""
    for structure in (STRUCTURE, Structure(TESTS)):
        groups = defaultdict(list)
        for name, weight in structure.weights.items():
            parts = name.split(".")
            for depth in range(1, min(len(parts), 3) + 1):
                groups[".".join(parts[:depth])].append(weight)
        for name in sorted(groups):
            statements, expressions = _sum(groups[name])
            if len(groups[name]) > 1:
                sys.stdout.write(f"{statements:>8,} statements {expressions:>9,} expressions  {name}\n")


def _name(path: Path, package: Path) -> str:
    parts = path.relative_to(package.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imported(tree: ast.Module, files: Mapping[str, Path]) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names if each.name in files)
        elif isinstance(node, ast.ImportFrom) and node.module in files:
            for each in node.names:
                submodule = f"{node.module}.{each.name}"
                yield submodule if submodule in files else node.module


def _body_length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    return (node.end_lineno or 0) - body[0].lineno + 1 if body else 0


def _print_figures(structure: Structure) -> None:
    for name, value in structure.figures.items():
        sys.stdout.write(f"{value:>8,} {name}\n")


if __name__ == "__main__":
    if sys.argv[1:] == ["--sizes"]:
        _print_sizes()
    else:
        _print_figures(Structure(*map(Path, sys.argv[1:])))
