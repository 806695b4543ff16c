import re
import tomllib

from tests.docs.pages import ROOT

_TEXT = (ROOT / "docs" / "decisions.md").read_text("utf-8")
_FIVE = ["Question", "Choice", "Why", "Given up", "Would change our mind"]


def test_numbers_ascend() -> None:
    """A decision keeps its number for good, since others cite it; withdrawn ones leave a gap."""
    numbers = [int(number) for number in re.findall(r"^### D(\d+) · .+$", _TEXT, re.MULTILINE)]

    assert numbers
    assert numbers == sorted(set(numbers))


def test_five_lines_each() -> None:
    """Each decision has its five lines, none of them empty."""
    for decision in _TEXT.split("\n### ")[1:]:
        lines = re.findall(r"^- \*\*(.+?)\.\*\* \S.*$", decision, re.MULTILINE)

        assert lines == _FIVE, decision.partition("\n")[0]


def test_every_dependency_has_its_reason() -> None:
    """Each package that pyproject.toml asks for stands in the title of a decision."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    asked = [
        *project["build-system"]["requires"],
        *project["project"]["dependencies"],
        *(name for extra in project["project"]["optional-dependencies"].values() for name in extra),
    ]
    titles = " ".join(re.findall(r"^### (.+)$", _TEXT, re.MULTILINE)).lower()

    names = {re.split(r"[^A-Za-z0-9-]", package)[0].lower() for package in asked}

    assert not {name for name in names if not re.search(rf"\b{name}\b", titles)}


def test_cited_decisions_exist() -> None:
    """A comment that cites a decision cites one that is there."""
    cited = {
        number
        for path in (ROOT / "gateway").rglob("*.py")
        for number in re.findall(r"\(D(\d+)\)", path.read_text("utf-8"))
    }

    assert all(f"### D{number} · " in _TEXT for number in cited)
