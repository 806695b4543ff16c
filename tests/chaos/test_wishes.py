"""Wishes are the same for the same seed, and hold what the judge relies on."""

from itertools import islice

from tests.chaos.wishes import (
    AT_ONCE,
    EDIT,
    GENERATION,
    HELD,
    ON_SHARED_ACCOUNT,
    picture_sha256,
    pictures,
    wishes,
)


def test_seeded() -> None:
    """The same seed gives the same wishes; another one, others."""
    one, again, other = (list(islice(wishes(seed), 200)) for seed in ("1", "1", "2"))

    assert one == again
    assert one != other


def test_twins() -> None:
    """Some wishes share prompt and picture, some only the prompt; none of these is given up."""
    twins = [wish for wish in islice(wishes("1"), 2000) if wish.name[-1] in "ab"]
    pairs = list(zip(twins[::2], twins[1::2], strict=False))

    assert all(one.prompt == other.prompt and one.key is None for one, other in pairs)
    assert {one.picture == other.picture for one, other in pairs} == {True, False}
    assert not any(wish.leave for wish in twins)
    assert {wish.model for wish in twins} == {EDIT}


def test_models() -> None:
    """All three ways are wanted; who wants one without a task comes back, to be told."""
    some = list(islice(wishes("1"), 2000))
    at_once = [wish for wish in some if wish.model == AT_ONCE]

    assert {wish.model for wish in some} == {EDIT, GENERATION, AT_ONCE}
    assert {wish.back for wish in at_once if wish.leave} == {"marked", "pressed"}
    assert {wish.leave for wish in at_once} == {"", "waiting"}


def test_pictures_differ() -> None:
    """Each picture is another one."""
    assert len(set(pictures())) == len(pictures())


def test_behind_a_proxy_that_holds_on() -> None:
    """Nobody leaves: the second call comes while the first is open, before any task can end."""
    held = [wish for wish in islice(wishes("1"), 2000) if wish.tenant == HELD]

    assert held
    assert all(not wish.leave and wish.key is None for wish in held)
    assert all(0.0 < wish.leave_after < 1.0 for wish in held)


def test_on_a_shared_account() -> None:
    """Many have the same prompt, nobody the same picture, and nobody leaves."""
    some = [wish for wish in islice(wishes("1"), 2000) if wish.tenant == ON_SHARED_ACCOUNT]

    assert len({wish.prompt for wish in some}) < 20 < len(some)
    assert len({picture_sha256(wish) for wish in some}) == len(some)
    assert not any(wish.leave for wish in some)
