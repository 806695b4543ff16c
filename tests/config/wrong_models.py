"""What can be wrong in a table of [models], and what is said."""

import pytest

from tests.config.wrong_settings import PRICE_TABLE

_NEW = '[models."wan9"]\nfamily = "messages"\npixels = [1, 2]\n'

WRONG_MODELS = [
    pytest.param(
        '[models."wan9"]\npixels = [1, 2]',
        ': models.wan9.family: is missing; use "synthesis" or "messages"',
        id="a new model without its wire format",
    ),
    pytest.param(
        f"{_NEW}edit = true",
        ": models.wan9.edit: unknown key; write edits, or remove it",
        id="a misspelt key",
    ),
    pytest.param(
        _NEW,
        ": models.wan9.edits: and generations are false; set one of them to true",
        id="a model that does nothing",
    ),
    pytest.param(
        f"{_NEW}edits = true",
        ": models.wan9.images: a model that edits takes pictures; use, say, [1, 3]",
        id="an editor without pictures",
    ),
    pytest.param(
        '[models."wan2.6-image"]\npixels = [2, 1]',
        ': models."wan2.6-image".pixels: got [2, 1]; use two whole numbers from 1, the smaller '
        "one first, such as [1, 3]",
        id="a span that runs backwards",
    ),
    pytest.param(
        '[models."wan2.6-image"]\npixels = [1, 2, 3]',
        ': models."wan2.6-image".pixels: got a list; use two whole numbers from 1, the smaller '
        "one first, such as [1, 3]",
        id="a span of three",
    ),
    pytest.param(
        '[models."wan2.6-image"]\nprices = 0.2',
        ': models."wan2.6-image".prices: got 0.2; use a table of regions such as '
        f'{{ beijing = "0.20 CNY" }}; a price is a text such as "0.03 USD"{PRICE_TABLE}',
        id="a price without its region",
    ),
    pytest.param(
        '[models."wan2.6-image".prices]\nbeijing = "0.20"',
        ': models."wan2.6-image".prices: got "0.20"; use a table of regions such as '
        f'{{ beijing = "0.20 CNY" }}; a price is a text such as "0.03 USD"{PRICE_TABLE}',
        id="a price without its currency",
    ),
    pytest.param(
        '[models."wan 9"]\nfamily = "messages"',
        ': models."wan 9": is not a model name; use letters, digits and . _ : / -',
        id="a name with a space",
    ),
    pytest.param(
        f'{_NEW}generations = true\noptions = ["size"]',
        ": models.wan9.n: is not among its options; add it there, or use 1",
        id="pictures that cannot be asked for",
    ),
    pytest.param(
        f'{_NEW}options = ["sise"]',
        ': models.wan9.options: holds "sise"; use a list of "n", "size", "negative_prompt", '
        '"seed", "watermark", "prompt_extend", "prompt_extend_mode", "enable_thinking", '
        '"thinking_mode", "bbox_list" or "color_palette"',
        id="an option that does not exist",
    ),
    pytest.param(
        f'{_NEW}image_formats = ["png"]',
        ': models.wan9.image_formats: lacks jpeg; use a list of "jpeg", "png", "bmp", "webp", '
        '"tiff" or "gif", jpeg among them',
        id="no jpeg",
    ),
    pytest.param(
        f"{_NEW}prompt = 800",
        ': models.wan9.prompt: got 800; use a text such as "2000 characters" or "800 tokens"',
        id="a length without its unit",
    ),
    pytest.param(
        f'{_NEW}sizes = ["1K"]',
        ': models.wan9.sizes: holds "1K"; use a list of sizes such as '
        '["1664*928", "928*1664"], or []',
        id="a size in words",
    ),
    pytest.param(
        f'{_NEW}snapshots = ["2026"]',
        ': models.wan9.snapshots: holds "2026"; use a list of dates such as ["2026-03-03"], quoted',
        id="a year",
    ),
]
