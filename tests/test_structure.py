"""The rules of this repository that no linter knows: names, first lines, reasons, dependencies."""

import ast
import io
import re
import sys
import tokenize
import tomllib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "gateway").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
OURS = [*SOURCES, *TESTS, *sorted((ROOT / "benchmarks").rglob("*.py"))]

VAGUE_MODULES = {"utils", "util", "helpers", "helper", "common", "base", "manager", "misc"}

BANNED_WORDS = re.compile(
    r"\b(errands?|legs?|desks?|visits?|manner|glances?|keepsakes?|whence|anew|mends?|lanes?"
    r"|weather|house|sent home|an URL|is no region)\b",
    re.IGNORECASE,
)
"""What a reader would have to look up, or stumble over."""
BANNED_NAMES = {
    "errand",
    "leg",
    "desk",
    "visit",
    "stay",
    "manner",
    "glance",
    "keepsake",
    "lane",
} | {*("house", "weather", "street", "told", "said", "asked")}
"""Parts of names, as in ``_told`` and ``house_of``."""


def test_files_are_found() -> None:
    """The rules below look at something."""
    assert len(SOURCES) > 100
    assert ROOT / "gateway" / "app.py" in SOURCES
    assert Path(__file__) in TESTS


def test_no_module_is_named_vaguely() -> None:
    """A name says what is in a file, not that there was no better place for it."""
    assert _guilty(OURS, lambda file: VAGUE_MODULES & set(file.stem.split("_"))) == {}


def test_no_class_name_stands_for_two_things() -> None:
    """Whoever searches for a class finds one, in the gateway, the tests and the benchmarks."""
    places: dict[str, list[str]] = defaultdict(list)
    for file in OURS:
        for name in re.findall(r"^ *class _*(\w+)", _text(file), re.MULTILINE):
            places[name].append(str(file.relative_to(ROOT)))

    assert {name: where for name, where in places.items() if len(where) > 1} == {}


def test_first_sentences_say_what_a_module_is() -> None:
    """A module's docstring begins with a sentence of its own, of four words or more."""
    firsts = {file: _first_sentence(_tree(file)) for file in SOURCES if file.name != "__init__.py"}
    often = Counter(firsts.values())

    assert _guilty([*firsts], lambda file: _faults_of(firsts[file])) == {}
    assert [first for first, times in often.items() if times > 1] == []


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        pytest.param("x = 1", "words", id="none"),
        pytest.param('"""Counts edits."""', "words", id="two-words"),
        pytest.param('"""Counts the edits of tenants"""', "full stop", id="no-end"),
        pytest.param('"""Sends everybody home\nfrom the desk."""', "desk", id="a-banned-word"),
    ],
)
def test_a_bad_first_sentence_is_found(source: str, fault: str) -> None:
    """The rule about first sentences fails where it should."""
    assert fault in "; ".join(_faults_of(_first_sentence(ast.parse(source))))


def test_texts_are_plain() -> None:
    """No docstring, comment or message of the gateway uses a word of the old dialect."""
    assert _guilty(SOURCES, lambda file: _banned_in_texts(_text(file))) == {}


def test_names_of_the_tests_are_plain() -> None:
    """Helpers, fixtures and fakes are named after what they do or hold."""
    others = [file for file in OURS if file not in SOURCES]

    assert _guilty(others, lambda file: _banned_in_names(_text(file))) == {}


@pytest.mark.parametrize(
    ("text", "word"),
    [
        pytest.param("# Whence it comes.", "Whence", id="comment"),
        pytest.param('def f():\n    """Mend it."""', "Mend", id="docstring"),
        pytest.param('raise ValueError(f"{x} is no region")', "is no region", id="message"),
    ],
)
def test_a_banned_word_is_found(text: str, word: str) -> None:
    """The rule about texts fails where it should; a name is no text."""
    assert _banned_in_texts(text) == [word]
    assert _banned_in_texts("desk = house") == []


@pytest.mark.parametrize(
    ("source", "name"),
    [
        pytest.param("def a_house(): ...", "a_house", id="function"),
        pytest.param("async def _told(): ...", "_told", id="coroutine"),
        pytest.param("class FrontDesk: ...", "FrontDesk", id="class"),
    ],
)
def test_a_banned_name_is_found(source: str, name: str) -> None:
    """The rule about names fails where it should; the name of a test is a sentence."""
    assert _banned_in_names(source) == [name]
    assert _banned_in_names("def test_it_is_told(): ...") == []


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
    # uvicorn's, and those that are imported by their names when they are needed.
    imported_otherwise = {"uvloop", "pillow-heif", "shtab"}
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


def _first_sentence(module: ast.Module) -> str:
    return " ".join((ast.get_docstring(module) or "").split("\n\n")[0].split())


def _faults_of(sentence: str) -> list[str]:
    faults = [f"the word {word!r}" for word in BANNED_WORDS.findall(sentence)]
    if len(sentence.split()) < 4:
        faults.append("fewer than four words")
    if not sentence.endswith("."):
        faults.append("no full stop")
    return faults


def _banned_in_texts(source: str) -> list[str]:
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    texts = [token.string for token in tokens if token.type in {tokenize.STRING, tokenize.COMMENT}]
    return [word for text in texts for word in BANNED_WORDS.findall(text)]


def _banned_in_names(source: str) -> list[str]:
    names = re.findall(r"^ *(?:async def|def|class) (?!test_)(\w+)", source, re.MULTILINE)
    return sorted({name for name in names if _words(name) & BANNED_NAMES})


def _words(name: str) -> set[str]:
    """Return the words of ``an_example`` and ``AnExample``."""
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)}


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
