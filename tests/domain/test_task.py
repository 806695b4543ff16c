import pytest

from gateway.domain.errors import UpstreamFailed
from gateway.domain.task import ResultImage, Task, TaskStatus


@pytest.mark.parametrize("status", TaskStatus)
def test_ended(status: TaskStatus) -> None:
    """All but PENDING and RUNNING are ends."""
    assert status.ended == (status not in {TaskStatus.PENDING, TaskStatus.RUNNING})


def test_made() -> None:
    """Made are the pictures, in order, without the failures between them."""
    one, two = ResultImage("https://a.test/1"), ResultImage("https://a.test/2")
    task = Task("t", TaskStatus.SUCCEEDED, (one, UpstreamFailed("no"), two))

    assert task.images == (one, two)


def test_nothing_private_in_repr() -> None:
    """Neither a signed URL nor a prompt appear in a representation."""
    task = Task("t", TaskStatus.SUCCEEDED, (ResultImage("canary"),), orig_prompt="canary")

    assert "canary" not in repr(task)
