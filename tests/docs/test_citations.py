"""What the code cites exists: pages of docs/reference by section, promises by number."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import spans

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "gateway").rglob("*.py"))
REFERENCES = {page.name: page for page in (ROOT / "docs" / "reference").glob("*.md")}

_NUMBER = r"\d+(?:\.\d+)?"
_NUMBERS = rf"{_NUMBER}(?:(?:, | and ){_NUMBER}\b)*"
_PAGE = re.compile(rf"\b(\w+\.md)(?: sections?)?(?: ({_NUMBERS}))?")
_SECTION = re.compile(rf"\bsections? ({_NUMBERS})")


def test_a_page_and_section_that_is_cited_exists() -> None:
    """A comment or docstring that names a page, with or without a section, can be followed."""
    pages = {page.name for page in ROOT.glob("docs/**/*.md")} | {"README.md"}
    cited = list(_citations())

    assert len(cited) > 20  # the patterns find what is there
    assert [it for it in cited if it[1] not in pages] == []
    assert [
        it for it in cited if it[2] and it[1] in REFERENCES and it[2] not in _sections(it[1])
    ] == []


def test_a_file_that_a_document_names_exists() -> None:
    """Files and folders of the repository that a document names by their path are there."""
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
    named = [
        (page.name, path)
        for page in pages
        if page.name != "CHANGELOG.md"  # it also says what was
        for path in re.findall(
            r"`((?:benchmarks|config|docs|gateway|tests)/[\w./-]+)`", page.read_text("utf-8")
        )
    ]

    assert len(named) > 20
    assert [it for it in named if not (ROOT / it[1]).exists()] == []


def test_what_contributing_names_exists() -> None:
    """Each file, folder and method to which CONTRIBUTING.md sends a reader is in gateway/."""
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    table = text.partition("## Where to look")[2].partition("\n## ")[0]
    paths = [name for name in spans(table) if "/" in name]
    methods = [name.split(".") for name in spans(table) if re.fullmatch(r"[A-Z]\w+\.\w+", name)]
    source = "\n".join(
        (ROOT / "gateway" / path).read_text("utf-8") for path in paths if path.endswith(".py")
    )

    assert [path for path in paths if not (ROOT / "gateway" / path).exists()] == []
    assert len(methods) == 2
    for owner, method in methods:
        assert f"class {owner}" in source
        assert f"def {method}(" in source


def test_a_promise_that_is_cited_exists() -> None:
    """Code and tests cite promises by number, and docs/promises.md has each of these numbers."""
    listed = set(
        re.findall(r"^\| (P\d+) \|", (ROOT / "docs" / "promises.md").read_text(), re.MULTILINE)
    )
    files = [*SOURCES, *(ROOT / "tests").rglob("*.py")]
    cited = {
        number
        for file in files
        for group in re.findall(r"\((P\d+(?:, P\d+)*)\)", file.read_text("utf-8"))
        for number in group.split(", ")
    }

    assert len(cited) > 5
    assert cited <= listed


def test_a_section_that_the_sandbox_cites_exists() -> None:
    """The simulated region cites DashScope's reference by section alone."""
    cited = [
        (file.name, number)
        for file in SOURCES
        if file.parent.name == "sandbox"
        for match in _SECTION.finditer(file.read_text("utf-8"))
        for number in re.findall(_NUMBER, match[1])
    ]

    assert len(cited) > 10
    assert [it for it in cited if it[1] not in _sections("dashscope.md")] == []


@pytest.mark.parametrize("page", ["dashscope.md", "openai.md"])
def test_sections_are_numbered_once(page: str) -> None:
    """No two headings of a reference have one number, or a citation would be ambiguous."""
    numbers = _headings(page)

    assert len(numbers) > 10
    assert len(numbers) == len(set(numbers))


def test_a_broken_citation_is_found() -> None:
    """The patterns read every form of citation that the code uses."""
    text = "(dashscope.md 1.3, 99.1) openai.md section 7 and docs/models.md; dashscope.md 2 and 3"

    assert list(_read(text)) == [
        ("dashscope.md", "1.3"),
        ("dashscope.md", "99.1"),
        ("openai.md", "7"),
        ("models.md", ""),
        ("dashscope.md", "2"),
        ("dashscope.md", "3"),
    ]


def _citations() -> Iterator[tuple[str, str, str]]:
    """Yield file, page and section (may be empty) of every citation in gateway/."""
    for file in SOURCES:
        for page, section in _read(file.read_text("utf-8")):
            yield str(file.relative_to(ROOT)), page, section


def _read(text: str) -> Iterator[tuple[str, str]]:
    for match in _PAGE.finditer(text):
        for number in re.findall(_NUMBER, match[2] or "") or [""]:
            yield match[1], number


def _sections(page: str) -> set[str]:
    return set(_headings(page))


def _headings(page: str) -> list[str]:
    text = REFERENCES[page].read_text("utf-8")
    return re.findall(rf"^#+ ({_NUMBER})\b", text, re.MULTILINE)
