import pytest

from gateway.domain import errors
from gateway.domain.errors import (
    ContentRefused,
    GatewayError,
    InternalError,
    InvalidRequest,
    RateLimited,
    TaskLost,
    Throttled,
    rebuild_error,
)


def rows() -> list[tuple[str, ...]]:
    """Read the tree in the module's docstring."""
    lines = [line for line in (errors.__doc__ or "").splitlines() if "──" in line]
    return [tuple(line.replace("│", "").lstrip("├└─ ").split()[:5]) for line in lines]


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_the_tree_in_the_docstring_is_true(row: tuple[str, ...]) -> None:
    """Each class has the status, type, code and retry that its line tells."""
    name, status, kind, code, retry = row
    cls = getattr(errors, name)

    error = cls("It went wrong.")

    assert (error.status, error.type, error.code) == (int(status), kind, code)
    assert error.retry == (retry == "yes")


def test_the_tree_is_whole() -> None:
    """No class is missing in the docstring but those that clients never get by that name."""
    below = {cls.__name__ for cls in errors._below(GatewayError)}

    assert below - {row[0] for row in rows()} == {"IntentExpired", "Throttled"}


def test_an_instance_overrides_its_class() -> None:
    """Code and retry may be the instance's own; the class keeps its own."""
    error = InvalidRequest(
        "no", param="n", code="unknown_parameter", retry=True, retry_after=3.0, upstream_code="X"
    )

    assert (error.param, error.code, error.retry, error.retry_after) == (
        "n",
        "unknown_parameter",
        True,
        3.0,
    )
    assert (InvalidRequest.code, InvalidRequest.retry) == ("invalid_value", False)
    assert str(error) == error.message == "no"
    assert error.edit_id is None


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("ContentRefused", ContentRefused),
        ("TaskLost", TaskLost),
        ("Throttled", Throttled),
        ("OfAnOlderVersion", InternalError),
        (None, InternalError),
    ],
)
def test_remembered(kind: str | None, expected: type[GatewayError]) -> None:
    """What the ledger kept is told again in the same words."""
    error = rebuild_error(kind, "some_code", "What was said.", retry=True)

    assert type(error) is expected
    assert (error.code, error.message, error.retry) == ("some_code", "What was said.", True)


def test_remembered_without_words() -> None:
    """A record without a message or code has those of its class."""
    error = rebuild_error("TaskLost", None, None, retry=False)

    assert (error.code, error.message) == ("upstream_task_lost", "The edit failed.")


def test_throttled_is_a_rate_limit() -> None:
    """Towards the client a throttling is a 429."""
    assert issubclass(Throttled, RateLimited)
