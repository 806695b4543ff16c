"""The house rules that no linter knows: names, first lines, reasons and dependencies."""

import ast
import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "gateway").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
OURS = [*SOURCES, *TESTS, *sorted((ROOT / "benchmarks").rglob("*.py"))]

DRAWERS = {"utils", "util", "helpers", "helper", "common", "base", "manager", "misc"}


def test_files_are_found() -> None:
    """The rules below look at something."""
    assert len(SOURCES) > 100
    assert ROOT / "gateway" / "app.py" in SOURCES
    assert Path(__file__) in TESTS


def test_no_file_is_a_drawer() -> None:
    """A name says what is in a file, not that there was no better place for it."""
    assert _guilty(OURS, lambda file: DRAWERS & set(file.stem.split("_"))) == {}


def test_first_lines_say_what_it_is() -> None:
    """A module's docstring begins with a sentence of at least four words."""

    def unsaid(file: Path) -> bool:
        first = (ast.get_docstring(_tree(file)) or "").split("\n\n")[0]
        return len(first.split()) < 4

    assert _guilty([f for f in SOURCES if f.name != "__init__.py"], unsaid) == {}


def test_nothing_is_put_off() -> None:
    """There is no note to self, and no function that only says that it is not written yet."""
    note = re.compile(r"#.*\b(TO" r"DO|FIX" r"ME|X" r"XX)\b|raise NotImplemented" r"Error")

    assert _guilty(OURS, lambda file: note.findall(_text(file))) == {}


def test_no_import_for_types_alone() -> None:
    """Such an import is a circle made invisible."""

    def hidden(file: Path) -> bool:
        names = (node.id for node in ast.walk(_tree(file)) if isinstance(node, ast.Name))
        return "TYPE_CHECKING" in names

    assert _guilty(OURS, hidden) == {}


def test_every_ignore_has_its_reason() -> None:
    """Whoever silences a tool says which of its rules, and why."""
    good = re.compile(r"noqa: [A-Z0-9]+(, [A-Z0-9]+)* - \w|type: ignore\[[a-z, -]+\]  # \w")

    def bare(file: Path) -> list[str]:
        found = re.findall(r"  # (noqa.*|type: ignore.*)", _text(file))
        return [text for text in found if not good.match(text)]

    assert _guilty(SOURCES, bare) == {}


def test_every_test_states_its_fact() -> None:
    """A test begins with a sentence; whoever reads those sentences knows the product."""

    def silent(file: Path) -> list[str]:
        tests = [it for it in _functions(file) if it.name.startswith("test_")]
        return [it.name for it in tests if not ast.get_docstring(it)]

    assert _guilty([file for file in TESTS if file.stem.startswith("test_")], silent) == {}


def test_dependencies_are_those_imported() -> None:
    """Nothing is imported that pyproject does not name, and nothing named that is not used."""
    module_of = {
        "opentelemetry-exporter-otlp-proto-http": "opentelemetry",
        "opentelemetry-sdk": "opentelemetry",
        "pillow": "PIL",
        "prometheus-client": "prometheus_client",
    }
    # uvicorn's, and the one that is imported by its name when the first such picture comes.
    imported_otherwise = {"uvloop", "pillow-heif"}
    project = tomllib.loads(_text(ROOT / "pyproject.toml"))["project"]
    extras = project["optional-dependencies"]
    requested = [
        *project["dependencies"],
        *(one for name, extra in extras.items() if name != "dev" for one in extra),
    ]
    names = {re.split(r"[>=<\[]", requirement)[0] for requirement in requested}

    imported = {module.partition(".")[0] for file in SOURCES for module in _imports(file)}

    foreign = imported - set(sys.stdlib_module_names) - {"gateway"}
    assert foreign == {module_of.get(name, name) for name in names} - imported_otherwise


def _guilty(files: list[Path], crime: Callable[[Path], Any]) -> dict[str, Any]:
    """Return what *crime* finds, by file."""
    return {str(file.relative_to(ROOT)): found for file in files if (found := crime(file))}


def _text(file: Path) -> str:
    return file.read_text("utf-8")


@cache
def _tree(file: Path) -> ast.Module:
    return ast.parse(_text(file))


def _functions(file: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(_tree(file)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def _imports(file: Path) -> Iterator[str]:
    for node in ast.walk(_tree(file)):
        match node:
            case ast.Import():
                yield from (alias.name for alias in node.names)
            case ast.ImportFrom(module=str(module)):
                yield module
