"""The whole gateway under fire: never a 500, never a hang, and at rest nothing is left."""

from collections.abc import Iterator

import pytest
from hypothesis import strategies as st

from tests.fuzz import documents, files, forms, heads
from tests.fuzz.storm import Storm, fire, storm, verdict
from tests.fuzz.wire import Landed, Shot
from tests.harness import origin


@pytest.fixture(scope="module")
def under() -> Iterator[Storm]:
    with storm() as result:
        yield result


@pytest.mark.parametrize(
    ("shots", "salvoes"),
    [
        pytest.param(forms.sound(), 12, id="sound-forms"),
        pytest.param(forms.broken(), 30, id="broken-forms"),
        pytest.param(forms.urlencoded(), 10, id="urlencoded"),
        pytest.param(documents.near(), 20, id="near-edits-in-json"),
        pytest.param(documents.generations(), 20, id="near-generations"),
        pytest.param(documents.far(), 15, id="any-json"),
        pytest.param(files.pictures(), 20, id="mutated-pictures"),
        pytest.param(heads.heads(), 20, id="junk-in-the-head"),
    ],
)
def test_salvoes(under: Storm, shots: st.SearchStrategy[Shot], salvoes: int) -> None:
    """Each shot ends as it may, the gateway comes to rest, and the region refused nothing."""
    before = under.refused_upstream()

    fire(under, shots, salvoes=salvoes)

    assert under.refused_upstream() == before


_ERROR = b'{"error":{"message":"","type":"","param":null,"code":"%s"}}'
_SHOT = Shot(b"", b"")


@pytest.mark.parametrize(
    ("shot", "landed", "message"),
    [
        pytest.param(_SHOT, Landed(200), "", id="served"),
        pytest.param(_SHOT, Landed(400, _ERROR % b"invalid_value"), "", id="refused"),
        pytest.param(_SHOT, Landed(), "no answer", id="no-answer"),
        pytest.param(_SHOT, Landed(all_sent=False), "", id="cut-while-sending"),
        pytest.param(Shot(b"", b"", leaves=True), Landed(), "", id="left"),
        pytest.param(
            _SHOT, Landed(500, _ERROR % b"internal_error"), "500 internal_error", id="a-bug"
        ),
        pytest.param(_SHOT, Landed(400, b"oops"), "400 malformed", id="no-envelope"),
        pytest.param(_SHOT, Landed(400, b'{"error":{}}'), "400 malformed", id="half-an-envelope"),
        pytest.param(
            Shot(b"", b"", owner=origin("a", b"b")),
            Landed(400, _ERROR % b"invalid_value"),
            "a sound edit is refused: 400 invalid_value",
            id="a-sound-edit-refused",
        ),
    ],
)
def test_verdict(shot: Shot, landed: Landed, message: str) -> None:
    """A storm can condemn."""
    assert verdict(shot, landed) == message
