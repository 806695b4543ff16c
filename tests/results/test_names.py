import re

import pytest

from gateway.results.names import ResultName, owner_of, parse_name
from tests.results.pictures import NAME


@pytest.mark.parametrize("ending", ["png", "jpeg", "webp"])
def test_there_and_back(ending: str) -> None:
    """What a name spells is read as the same name."""
    name = ResultName(owner_of("acme"), "edit_0a", 2, 11, ending)

    assert str(name) == f"{owner_of('acme')}-edit_0a-2-11.{ending}"
    assert parse_name(str(name)) == name
    assert name.media_type == f"image/{ending}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "..",
        "../../etc/passwd",
        f"../{NAME}",
        f"{NAME}/",
        f"{NAME}\n",
        f"{NAME}\0",
        f"{NAME}.abc",
        str(NAME).upper(),
        str(NAME).replace(".png", ".gif"),
        str(NAME).replace(".png", ""),
        str(NAME).replace("-0-0", "-00-0"),
        str(NAME).replace("-0-0", "-0-٣"),
        str(NAME).replace("-0-0", "-0"),
        str(NAME).replace("edit_", "edit/"),
        str(NAME).replace("edit_", "edit."),
        str(NAME)[1:],
        "x" * 100_000,
    ],
)
def test_no_name(text: str) -> None:
    """What is not exactly spelled as a name is none, so that no path can be made of it."""
    assert parse_name(text) is None


def test_owners() -> None:
    """Two tenants are two owners, and neither owner tells its tenant's name."""
    acme, globex = owner_of("acme"), owner_of("globex")

    assert acme != globex
    assert re.fullmatch("[0-9a-f]{16}", acme)
    assert "acme" not in acme
