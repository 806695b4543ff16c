"""docs/clients.md says of each of its statements how it is known."""

import re
from pathlib import Path

_PAGE = Path(__file__).parents[2] / "docs" / "clients.md"
_KNOWN_BY = re.compile(r"\[(run|body)\]\(\.\./tests/\S+\)$|\[source\]\(https://\S+\)$")


def test_every_statement_is_marked() -> None:
    """Each line of a list but the legend ends with a test that exists, or with its source."""
    lines = _PAGE.read_text("utf-8").splitlines()
    words = [line for line in lines if line.startswith("- ") and not line.startswith("- **")]

    assert len(words) > 40
    assert not [line for line in words if not _KNOWN_BY.search(line)]
