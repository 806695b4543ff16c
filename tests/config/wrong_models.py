"""What can be wrong in a table of [models], and what is said."""

import pytest

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
        ': models."wan2.6-image".prices: got 0.2; use a table such as { beijing = "0.20 CNY" }',
        id="a price without its region",
    ),
    pytest.param(
        '[models."wan2.6-image".prices]\nbeijing = "0.20"',
        ': models."wan2.6-image".prices: got "0.20"; use a table such as { beijing = "0.20 CNY" }',
        id="a price without its currency",
    ),
    pytest.param(
        '[models."wan 9"]\nfamily = "messages"',
        ': models."wan 9": is not a model name; use letters, digits and . _ : / -',
        id="a name with a space",
    ),
]
