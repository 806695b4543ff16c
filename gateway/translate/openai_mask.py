"""The effect of a mask on an edit: its result is composited with the original (D59)."""

from dataclasses import replace

from gateway.domain.edit import Edit, ResponseFormat, Size
from gateway.domain.errors import InvalidRequest
from gateway.domain.models import Sizes
from gateway.translate import size_rule

_MOST_DISTORTION = 0.02
"""Of the ratio: invisible, and as much as rounding to whole pixels may take."""


def is_own_mask(edit: Edit) -> bool:
    """Return whether the asked model edits a picture where it is transparent (openai.md 2.1)."""
    return edit.model_asked == "dall-e-2"


def check_own_mask(
    edit: Edit, *, taken: bool, with_markup: bool = False, keeps: bool = False
) -> None:
    """
    Refuse a picture that is its own mask where none can be applied.

    Args:
        edit: As edit_of returned it.
        taken: Whether the tenant has masks applied.
        with_markup: Whether a markup came with it.
        keeps: As for edit_of.
    """
    means = "With the model 'dall-e-2' the transparent parts of the image are what is edited"
    if with_markup:
        raise InvalidRequest(
            f"{means}, as with a mask, and a markup cannot be sent together with a mask. Send the"
            " image without transparency, or leave the markup out.",
            param="markup",
        )
    if not taken:
        raise InvalidRequest(
            f"{means}, as with a mask, and masks are not applied here. Send the image without"
            " transparency, or ask for another model.",
            param="image",
        )
    if edit.output.response_format is ResponseFormat.URL and not keeps:
        raise InvalidRequest(
            f"{means}, as with a mask. With response_format 'url' you get DashScope's own file,"
            " which knows no mask: use response_format 'b64_json', send the image without"
            " transparency, or ask for another model.",
            param="image",
        )


def apply_mask(edit: Edit, original: Size, sizes: Sizes, *, fit: bool, keeps: bool = False) -> Edit:
    """
    Return *edit* as one that keeps what its mask protects.

    Where no size is requested for, the result gets that of the original, so that each pixel
    which is kept is the original's own; one that DashScope does not make is scaled.

    Args:
        edit: As edit_of returned it.
        original: The picture that the mask lies on, upright, in pixels.
        sizes: What the model makes.
        fit: Whether sizes may be size by scaling; without it the original is scaled to the
            nearest legal size instead.
        keeps: As for edit_of.

    Raises:
        InvalidRequest: the answer is to be a URL, or its shape is not the original's.
    """
    if edit.output.response_format is ResponseFormat.URL and not keeps:
        raise InvalidRequest(
            "With response_format 'url' you get DashScope's own file, which knows no mask. Use"
            " response_format 'b64_json', or leave the mask out.",
            param="mask",
        )
    requested = edit.output.scale_to or edit.size
    if requested is not None:
        _check_shape(requested, original)
        return _composite(edit, scale_to=requested)
    if not size_rule.ratio_is_legal(original, sizes):
        raise InvalidRequest(
            f"A mask cannot be applied to an image of {original}: the ratio of its sides must be"
            f" 1:{sizes.most_ratio} to {sizes.most_ratio}:1.",
            param="mask",
        )
    nearest = size_rule.nearest_legal(original, sizes.if_unasked)
    size = nearest if sizes.settable else None
    if nearest == original or not (fit and size_rule.is_scalable(original, sizes)):
        return _composite(replace(edit, size=size), scale_to=nearest)
    adjusted = (*edit.adjusted, f"size:{size or 'model'}->{original}")
    return _composite(replace(edit, size=size, adjusted=adjusted), scale_to=original)


def _composite(edit: Edit, *, scale_to: Size) -> Edit:
    return replace(edit, output=replace(edit.output, scale_to=scale_to, composite=True))


def _check_shape(requested: Size, original: Size) -> None:
    """Refuse a size that would distort the original."""
    ratio = requested.width * original.height / (requested.height * original.width)
    if abs(ratio - 1) > _MOST_DISTORTION:
        raise InvalidRequest(
            f"With a mask, 'size' must have the shape of the image: {requested} was asked for, the"
            f" image is {original}. Leave 'size' out to get the image's own size.",
            param="size",
        )
