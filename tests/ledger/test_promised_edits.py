"""What was promised by a 202 lies on the disk, whole and private, until its task exists."""

import os
from dataclasses import fields, replace
from pathlib import Path

import pytest

from gateway.domain.clock import SystemClock
from gateway.domain.edit import Edit, OutputOptions, Picture, ResponseFormat, Size
from gateway.domain.errors import LedgerUnavailable
from gateway.ledger.edit_files import DurablePromisedEdits, NoPromisedEdits
from gateway.ledger.encoding import decode_promised_edit, encode_promised_edit
from gateway.ledger.open import open_stores

pytestmark = pytest.mark.anyio

FORM = OutputOptions(
    response_format=ResponseFormat.URL,
    output_format="webp",
    compression=80,
    scale_to=Size(640, 480),
    composite=True,
    stream=True,
    url_by_default=True,
)
EDIT = Edit(
    model="wan2.6-image",
    prompt="a red cat 猫",
    n=3,
    negative_prompt="blue",
    size=Size(768, 512),
    seed=7,
    watermark=False,
    options=(("thinking_mode", "true"),),
    transparent=True,
    prompt_extend=True,
    output=FORM,
    model_asked="gpt-image-1",
    ignored=("user",),
    adjusted=("1:rotated",),
)
PICTURES = (
    Picture(content=b"\x89PNG one", media_type="image/png", size=Size(8, 9)),
    Picture(url="https://example.com/a.png"),
    Picture(content=b"", media_type="image/png"),
    Picture(content=bytes(range(256)) * 1000, media_type="image/jpeg"),
)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "gateway.db"


@pytest.fixture
def promises(state: Path) -> DurablePromisedEdits:
    opened = open_stores(str(state), "full", SystemClock()).promises
    assert isinstance(opened, DurablePromisedEdits)
    return opened


def _file(state: Path) -> Path:
    return state.with_name("gateway.db.promised") / "edit_1"


def test_the_sample_sets_every_field() -> None:
    """A field that is added to an edit or a picture cannot be forgotten on the disk."""
    plain = Edit(model="", prompt="")

    assert not [it.name for it in fields(Edit) if getattr(EDIT, it.name) == getattr(plain, it.name)]
    form = [it.name for it in fields(OutputOptions) if getattr(FORM, it.name) == it.default]
    assert not form
    # What was done to a picture is in the edit: its own list and mark are not kept.
    stored = {"content", "media_type", "url", "size"}
    assert {it.name for it in fields(Picture)} == {*stored, "adjusted", "moved"}


def test_a_file_of_the_first_release_is_read() -> None:
    """The names in the file do not change with those in the code (P17)."""
    output = (
        '{"response_format":"url","output_format":"webp","compression":80,'
        '"scale_to":{"width":640,"height":480},"composite":true,"stream":true}'
    )
    head = (
        '{"version":1,"edit":{"model":"wan2.6-image","prompt":"a red cat 猫","n":3,'
        '"negative_prompt":"blue","size":{"width":768,"height":512},"seed":7,"watermark":false,'
        f'"prompt_extend":true,"answer":{output},"model_asked":"gpt-image-1","ignored":["user"],'
        '"adjusted":["1:rotated"]},"pictures":[{"content":8,"media_type":"image/png","url":"",'
        '"size":{"width":8,"height":9}}]}'
    ).encode()
    content = len(head).to_bytes(8, "big") + head + b"\x89PNG one"

    first = replace(EDIT, output=replace(FORM, url_by_default=False), options=(), transparent=False)
    assert decode_promised_edit(content) == (first, PICTURES[:1])
    assert decode_promised_edit(b"".join(encode_promised_edit(EDIT, PICTURES))) == (EDIT, PICTURES)


async def test_another_process_reads_what_this_one_put(
    promises: DurablePromisedEdits, state: Path
) -> None:
    """Every field of the edit and every byte of its pictures come back."""
    here = await promises.put("edit_1", EDIT, PICTURES)
    known = await open_stores(str(state), "normal", SystemClock()).promises.get("edit_1")

    assert known is not None
    edit, there = known
    assert edit == EDIT
    assert type(edit.output.response_format) is ResponseFormat
    assert await here.pictures() == await there.pictures() == PICTURES


async def test_an_edit_with_nothing_but_a_prompt(promises: DurablePromisedEdits) -> None:
    """A generation has no picture, and what was not asked for stays so."""
    plain = replace(Edit(model="wan2.5-t2i-preview", prompt="a hat"))
    await promises.put("edit_1", plain, ())

    known = await promises.get("edit_1")

    assert known is not None
    assert known[0] == plain
    assert await known[1].pictures() == ()


async def test_it_is_private(promises: DurablePromisedEdits, state: Path) -> None:
    """Nobody but the gateway's user may read a prompt or a picture."""
    await promises.put("edit_1", EDIT, PICTURES)

    assert _file(state).stat().st_mode & 0o777 == 0o600
    assert _file(state).parent.stat().st_mode & 0o777 == 0o700


async def test_closed_it_is_gone(promises: DurablePromisedEdits, state: Path) -> None:
    """Once it is not needed no byte of it is left, and to close it twice is harmless."""
    kept = await promises.put("edit_1", EDIT, PICTURES)
    kept.close()
    kept.close()

    assert list(_file(state).parent.iterdir()) == []
    assert await promises.get("edit_1") is None
    assert await promises.list_ids() == []
    with pytest.raises(LedgerUnavailable) as gone:
        await kept.pictures()
    assert not gone.value.retry


async def test_one_that_cannot_be_removed_is_left_to_the_clean_up(
    promises: DurablePromisedEdits, state: Path
) -> None:
    """Closing raises nothing: it stands in the way of a submit."""
    kept = await promises.put("edit_1", EDIT, PICTURES)
    _file(state).unlink()
    _file(state).mkdir()
    kept.close()

    assert await promises.list_ids() == ["edit_1"]


async def test_dropped_by_id(promises: DurablePromisedEdits) -> None:
    """The clean-up drops those that nobody needs."""
    for edit_id in ("edit_1", "edit_2"):
        await promises.put(edit_id, EDIT, PICTURES)
    await promises.drop("edit_1")

    assert await promises.list_ids() == ["edit_2"]


@pytest.mark.parametrize(
    "harm",
    [
        pytest.param(lambda whole: whole[:-1], id="cut in a picture"),
        pytest.param(lambda whole: whole[:20], id="cut in the fields"),
        pytest.param(lambda _: b"", id="empty"),
        pytest.param(lambda whole: whole + b"x", id="too long"),
        pytest.param(lambda whole: whole.replace(b'"version":1', b'"version":9'), id="version"),
        pytest.param(lambda whole: whole.replace(b'"prompt"', b'"pramps"'), id="fields"),
    ],
)
async def test_a_file_that_is_not_whole(
    promises: DurablePromisedEdits, state: Path, harm: object
) -> None:
    """It is refused for good: nothing is submitted that the client did not send."""
    assert callable(harm)
    kept = await promises.put("edit_1", EDIT, PICTURES)
    _file(state).write_bytes(harm(_file(state).read_bytes()))

    for read in (kept.pictures(), promises.get("edit_1")):
        with pytest.raises(LedgerUnavailable) as refused:
            await read
        assert not refused.value.retry


async def test_a_disk_that_does_not_take_it(state: Path) -> None:
    """It is refused, worth a retry, and the operator is told."""
    failures: list[Exception] = []
    state.with_name("gateway.db.promised").write_bytes(b"in the way")
    promises = open_stores(str(state), "normal", SystemClock(), on_failure=failures.append).promises

    with pytest.raises(LedgerUnavailable) as refused:
        await promises.put("edit_1", EDIT, PICTURES)

    assert refused.value.retry
    assert len(failures) == 1
    assert os.listdir(state.parent) == ["gateway.db.promised"]  # noqa: PTH208 - names only


async def test_without_a_ledger_nothing_is_promised() -> None:
    """Where nothing outlives the process a 202 is refused, and to repeat it is no use."""
    promises = open_stores("memory", "normal", SystemClock()).promises
    assert isinstance(promises, NoPromisedEdits)

    with pytest.raises(LedgerUnavailable) as refused:
        await promises.put("edit_1", EDIT, PICTURES)

    assert not refused.value.retry
    assert await promises.get("edit_1") is None
    assert await promises.list_ids() == []
    await promises.drop("edit_1")
