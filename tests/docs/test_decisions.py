import re
import tomllib

from tests.docs.pages import ROOT, spans

_TEXT = (ROOT / "docs" / "decisions.md").read_text("utf-8")
_FIVE = ["Question", "Choice", "Why", "Given up", "Would change our mind"]


def test_numbers_are_unique() -> None:
    """A decision keeps its number for good, since others cite it; withdrawn ones leave a gap."""
    numbers = re.findall(r"^### D(\d+) · .+$", _TEXT, re.MULTILINE)

    assert numbers
    assert len(numbers) == len(set(numbers))


def test_five_lines_each() -> None:
    """Each decision has its five lines, none of them empty."""
    for decision in _TEXT.partition("\n## Dependencies\n")[0].split("\n### ")[1:]:
        lines = re.findall(r"^- \*\*(.+?)\.\*\* \S.*$", decision, re.MULTILINE)

        assert lines == _FIVE, decision.partition("\n")[0]


def test_every_dependency_has_its_reason() -> None:
    """Each package that pyproject.toml asks for has its row in the table of dependencies."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    requested = [
        *project["build-system"]["requires"],
        *project["project"]["dependencies"],
        *(name for extra in project["project"]["optional-dependencies"].values() for name in extra),
    ]
    table = _TEXT.partition("\n## Dependencies\n")[2]
    listed = {
        name for row in re.findall(r"^\| (`.+?) \|", table, re.MULTILINE) for name in spans(row)
    }

    names = {re.split(r"[^A-Za-z0-9-]", package)[0].lower() for package in requested}

    assert names == listed


def test_cited_decisions_exist() -> None:
    """Code and tests cite decisions by number, as in "(D3)", and each of these is in the page."""
    written = set(re.findall(r"^### (D\d+) · ", _TEXT, re.MULTILINE))
    cited = _cited("gateway", "tests")

    assert len(cited) > 20  # the pattern finds what is there
    assert cited <= written


def test_each_decision_is_cited() -> None:
    """The code that rests on a decision cites it; a decision that no code cites is removed."""
    written = set(re.findall(r"^### (D\d+) · ", _TEXT, re.MULTILINE))

    assert written - _cited("gateway") == set()


def _cited(*folders: str) -> set[str]:
    return {
        number
        for folder in folders
        for file in (ROOT / folder).rglob("*.py")
        for group in re.findall(r"\(([DP]\d+(?:, [DP]\d+)*)\)", file.read_text("utf-8"))
        for number in group.split(", ")
        if number.startswith("D")
    }
