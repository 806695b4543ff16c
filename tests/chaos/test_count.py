"""The judge of a chaos run must be able to condemn."""

from dataclasses import replace
from typing import Any

import pytest

from tests.chaos.count import count, shown
from tests.chaos.notes import Note
from tests.chaos.wishes import (
    AT_ONCE,
    EDIT,
    GENERATION,
    ON_SHARED_ACCOUNT,
    REGION_BY_TENANT,
    Wish,
    picture_sha256,
    prompt_sha256,
)

WISH = Wish(name="1", tenant="acme", prompt="a hat", picture=0, timeout=60.0, retries=2)
GONE = replace(WISH, leave="waiting", back="gone")


def _task(wish: Wish, task_id: str, *, billed: int = 1) -> dict[str, Any]:
    return {
        "task_id": task_id,
        "prompt_sha256": prompt_sha256(wish),
        "inputs_sha256": [picture_sha256(wish)],
        "images_billed": billed,
        "submit_time": 0.0,
    }


def _books(*tasks: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {REGION_BY_TENANT[WISH.tenant]: {"tasks": list(tasks)}}


def _kept(_tenant: str, _task_id: str) -> bool:
    return True


def _gone(_tenant: str, _task_id: str) -> bool:
    return False


def test_one_task_for_one_edit_is_clean() -> None:
    """An edit that was paid once and served is clean; a failed task beside it costs nothing."""
    books = _books(_task(WISH, "t1"), _task(WISH, "t0", billed=0))

    verdict = count([Note(WISH, served="t1")], books, _gone)

    assert verdict.clean
    assert (verdict.edits, verdict.tasks, verdict.billed, verdict.unbilled) == (1, 2, 1, 1)


def test_a_second_paid_task_is_paid_twice() -> None:
    """Two paid tasks for one edit are one too many, even if both could be had."""
    books = _books(_task(WISH, "t1"), _task(WISH, "t2"))

    verdict = count([Note(WISH, served="t1")], books, _kept)

    assert len(verdict.twice) == 1
    assert not verdict.clean


def test_a_task_that_nobody_asked_for_is_paid_twice() -> None:
    """A paid task of a content that no client has is counted."""
    verdict = count([], _books(_task(WISH, "t1")), _kept)

    assert len(verdict.twice) == 1


def test_equal_edits_are_counted_together() -> None:
    """Two equal wishes may cost two tasks, and one if they shared it; never three."""
    notes = [Note(WISH, served="t1"), Note(replace(WISH, name="2"), served="t1")]

    shared = count(notes, _books(_task(WISH, "t1")), _gone)
    three = count(notes, _books(*(_task(WISH, f"t{n}") for n in range(1, 4))), _gone)

    assert shared.clean
    assert shared.shared == 1
    assert len(three.twice) == 1


def test_a_picture_of_an_unbilled_task_is_wrong() -> None:
    """A picture whose task the books do not bill cannot be."""
    verdict = count([Note(WISH, served="t9")], _books(_task(WISH, "t1")), _gone)

    assert len(verdict.wrong) == 1


def test_a_wrong_picture_is_told() -> None:
    """What a client saw to be wrong stands in the verdict."""
    note = Note(WISH, served="t1", wrong="of another picture")

    verdict = count([note], _books(_task(WISH, "t1")), _gone)

    assert verdict.wrong == ["1: of another picture (task t1)"]
    assert "! 1: of another picture" in shown(verdict)


@pytest.mark.parametrize(
    ("wish", "obtainable", "kept", "lost", "unserved"),
    [
        pytest.param(GONE, _kept, 1, 0, 0, id="left-for-good-and-kept"),
        pytest.param(GONE, _gone, 0, 1, 0, id="left-for-good-and-lost"),
        pytest.param(WISH, _kept, 1, 0, 1, id="asked-to-the-end-in-vain"),
        pytest.param(WISH, _gone, 0, 1, 1, id="paid-and-never-served"),
    ],
)
def test_what_was_paid_and_not_fetched(
    wish: Wish, obtainable: Any, kept: int, lost: int, unserved: int
) -> None:
    """A paid picture that its client did not get must be there to be had, or it is lost."""
    verdict = count([Note(wish)], _books(_task(wish, "t1")), obtainable)

    assert (verdict.kept, len(verdict.lost), verdict.unserved) == (kept, lost, unserved)
    assert verdict.clean is (obtainable is _kept and wish is GONE)


@pytest.mark.parametrize("billed", [0, 1])
@pytest.mark.parametrize("model", [EDIT, AT_ONCE])
def test_told_that_nobody_knows(billed: int, model: str) -> None:
    """Of a model without tasks that is an end, whether it was paid or not; of no other model."""
    note = Note(replace(WISH, model=model))
    note.end("answer", code="submit_uncertain", retry="false")

    verdict = count([note], _books(_task(note.wish, "t1", billed=billed)), _gone)

    assert note.over
    assert (verdict.doubted, verdict.doubted_paid, verdict.unpaid) == (1, billed, 1 - billed)
    assert verdict.clean is (model == AT_ONCE)


def test_doubt_excuses_one_bill_alone() -> None:
    """Who was told so and was billed twice all the same was wronged."""
    note = Note(replace(WISH, model=AT_ONCE))
    note.end("answer", code="submit_uncertain", retry="false")

    verdict = count([note], _books(_task(note.wish, "t1"), _task(note.wish, "t2")), _gone)

    assert len(verdict.twice) == 1


def test_a_generation_has_no_picture() -> None:
    """It is told apart by its prompt alone."""
    wish = replace(WISH, model=GENERATION)
    task = {**_task(wish, "t1"), "inputs_sha256": []}

    assert count([Note(wish, served="t1")], _books(task), _gone).clean


def test_dropped_before_it_cost_anything() -> None:
    """A client that left for good before its edit was made is owed nothing."""
    verdict = count([Note(GONE)], _books(_task(GONE, "t1", billed=0)), _gone)

    assert verdict.clean
    assert verdict.unpaid == 1


@pytest.mark.parametrize(
    ("code", "retry", "clean"),
    [
        pytest.param("still_running", "true", True, id="still-running"),
        pytest.param("still_running", "", False, id="without-the-header"),
        pytest.param("upstream_task_lost", "false", False, id="lost-for-good"),
        pytest.param("internal_error", "false", False, id="a-bug"),
    ],
)
def test_answers_are_held_against_the_contract(code: str, retry: str, clean: bool) -> None:
    """Only answers that these faults excuse are taken, with what they must tell the SDK."""
    note = Note(WISH, served="t1")
    note.end("answer", code=code, retry=retry)

    assert count([note], _books(_task(WISH, "t1")), _gone).clean is clean


@pytest.mark.parametrize(("tenant", "clean"), [("acme", False), (ON_SHARED_ACCOUNT, True)])
def test_a_task_lost_on_an_account(tenant: str, clean: bool) -> None:
    """Where another program uses the account, a doubt may stay; nowhere else."""
    note = Note(replace(WISH, tenant=tenant))
    note.end("answer", code="upstream_task_lost", retry="false")

    verdict = count([note], _books(_task(note.wish, "t1")), _gone)

    assert note.over
    assert (verdict.doubted_paid, verdict.clean) == (1, clean)


@pytest.mark.parametrize(("later", "clean"), [(1.0, True), (6.0, False)])
def test_who_hangs_up_in_a_drain(later: float, clean: bool) -> None:
    """What is submitted long after its client left the queue was submitted for nobody."""
    note = Note(replace(GONE, leave="draining"))
    note.end("left", code="draining")
    task = {**_task(note.wish, "t1"), "submit_time": note.ends[0]["at"] + later}

    verdict = count([note], _books(task), _kept)

    assert (len(verdict.for_nobody), verdict.clean) == (1 - clean, clean)


def test_the_second_program_on_an_account() -> None:
    """Its tasks are its own affair; a client that gets one of its pictures was wronged."""
    theirs = {**_task(WISH, "t9"), "inputs_sha256": ["theirs"]}
    books = _books(_task(WISH, "t1"), theirs)

    assert count([Note(WISH, served="t1")], books, _gone, "theirs").clean
    assert len(count([Note(WISH, served="t9")], books, _kept, "theirs").wrong) == 1
