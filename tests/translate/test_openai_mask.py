import pytest

from gateway.domain.edit import Edit, OutputOptions, ResponseFormat, Size
from gateway.domain.errors import InvalidRequest
from gateway.translate.openai_mask import apply_mask, check_own_mask
from tests.fakes import an_edit
from tests.models import EDITOR


def requested(size: Size, scale_to: Size | None = None) -> Edit:
    return an_edit(size=size, output=OutputOptions(scale_to=scale_to))


@pytest.mark.parametrize("fit", [True, False])
def test_a_legal_original_is_made_as_it_is(fit: bool) -> None:
    """Its size is asked for, and made sure of: each kept pixel is the original's own."""
    edit = apply_mask(an_edit(), Size(1024, 768), EDITOR.sizes, fit=fit)

    assert edit.size == Size(1024, 768)
    assert edit.output == OutputOptions(scale_to=Size(1024, 768), composite=True)
    assert edit.adjusted == ()


@pytest.mark.parametrize(
    ("original", "fit", "expected", "answered"),
    [
        pytest.param(Size(400, 300), True, Size(888, 666), Size(400, 300), id="small"),
        pytest.param(Size(400, 300), False, Size(888, 666), Size(888, 666), id="small-no-fit"),
        pytest.param(Size(3000, 2000), True, Size(1566, 1044), Size(3000, 2000), id="large"),
        pytest.param(Size(6000, 4000), True, Size(1566, 1044), Size(1566, 1044), id="too-large"),
    ],
)
def test_another_original_is_scaled(
    original: Size, fit: bool, expected: Size, answered: Size
) -> None:
    """The answer has the original's size where that may be; else the nearest that is made."""
    edit = apply_mask(an_edit(), original, EDITOR.sizes, fit=fit)

    assert edit.size == expected
    assert edit.output == OutputOptions(scale_to=answered, composite=True)
    assert edit.adjusted == (() if expected == answered else (f"size:{expected}->{answered}",))


@pytest.mark.parametrize(
    ("edit", "answered"),
    [
        pytest.param(requested(Size(1024, 768)), Size(1024, 768), id="legal"),
        pytest.param(requested(Size(888, 666), Size(512, 384)), Size(512, 384), id="scaled"),
        pytest.param(requested(Size(1000, 740)), Size(1000, 740), id="nearly"),
    ],
)
def test_a_size_of_the_same_shape_is_kept(edit: Edit, answered: Size) -> None:
    """What was asked for is what comes, a hair of distortion included."""
    result = apply_mask(edit, Size(4000, 3000), EDITOR.sizes, fit=True)

    assert result.size == edit.size
    assert result.output == OutputOptions(scale_to=answered, composite=True)


@pytest.mark.parametrize(
    ("edit", "original", "param"),
    [
        pytest.param(requested(Size(1024, 1024)), Size(1024, 768), "size", id="wider"),
        pytest.param(requested(Size(1024, 1024)), Size(768, 1024), "size", id="higher"),
        pytest.param(an_edit(), Size(2000, 499), "mask", id="beyond-4-to-1"),
        pytest.param(
            an_edit(output=OutputOptions(ResponseFormat.URL)), Size(1024, 768), "mask", id="url"
        ),
    ],
)
def test_what_cannot_be_masked(edit: Edit, original: Size, param: str) -> None:
    """What could only be answered with a distorted original, or not at all, is refused."""
    with pytest.raises(InvalidRequest) as refused:
        apply_mask(edit, original, EDITOR.sizes, fit=True)

    assert refused.value.param == param


def test_a_url_where_pictures_are_kept() -> None:
    """The masked picture is the gateway's own, and so is the URL that leads to it."""
    edit = an_edit(output=OutputOptions(ResponseFormat.URL))

    made = apply_mask(edit, Size(1024, 768), EDITOR.sizes, fit=True, keeps=True)

    assert made.output.response_format is ResponseFormat.URL
    assert made.output.composite
    check_own_mask(edit, taken=True, keeps=True)
    with pytest.raises(InvalidRequest, match="knows no mask"):
        check_own_mask(edit, taken=True)
