"""Models by config: one more, or one corrected."""

from dataclasses import replace
from pathlib import Path

from gateway.domain.models import Family, Inputs, Operation
from gateway.domain.price import Price
from tests.config.toml import GOOD, load
from tests.models import MODELS

_NEW = """
[models."wan9-image"]
family = "messages"
edits = true
generations = true
images = [0, 9]
image_sides = [240, 8000]
pixels = [589824, 4194304]
ratio = 8
prices = { beijing = "0.30 CNY" }
"""


def test_a_model_is_added(tmp_path: Path) -> None:
    """A table of a new name is a model, which clients may request where it says."""
    config = load(tmp_path, _NEW + GOOD)

    model = config.models.by_name["wan9-image"]
    assert (model.family, model.has_tasks) == (Family.MESSAGES, True)
    assert model.inputs == Inputs(9, 240, 8000)
    assert (model.sizes.most_pixels, model.sizes.most_ratio) == (4194304, 8)
    assert list(config.models.by_name) == [*MODELS, "wan9-image"]
    for operation in Operation:
        assert config.catalogs[operation].models["wan9-image"] is model
    assert config.prices["beijing", "wan9-image"] == Price(0.30, "CNY")


def test_a_model_is_corrected(tmp_path: Path) -> None:
    """A table of a known name says only what differs; the model keeps its place and the rest."""
    config = load(tmp_path, '[models."wan2.6-image"]\nimages = [1, 2]\n' + GOOD)

    model = config.models.by_name["wan2.6-image"]
    assert model.inputs.most == 2
    assert model.sizes == MODELS["wan2.6-image"].sizes
    assert list(config.models.by_name) == list(MODELS)
    assert MODELS["wan2.6-image"].inputs.most == 4, "of this config alone"


def test_a_new_model_as_the_default(tmp_path: Path) -> None:
    """It may be a default, and an alias may mean it."""
    models = '[models]\ndefault = "wan9-image"\n[models.aliases]\nours = "wan9-image"\n'

    config = load(tmp_path, models + _NEW + GOOD)

    catalog = config.catalogs[Operation.EDIT]
    assert catalog.default == catalog.models["ours"].name == "wan9-image"


def test_snapshots(tmp_path: Path) -> None:
    """Each date of a model is a model of the same kind; one with a table of its own has that."""
    models = (
        f'{_NEW}snapshots = ["2027-01-31", "2027-02-28"]\n'
        '[models."wan9-image-2027-02-28"]\nfamily = "messages"\ngenerations = true\n'
        "pixels = [1, 2]\n"
    )

    config = load(tmp_path, models + GOOD)

    base, dated, other = (
        config.models.by_name[name]
        for name in ("wan9-image", "wan9-image-2027-01-31", "wan9-image-2027-02-28")
    )
    assert replace(dated, name=base.name) == base
    assert config.prices["beijing", dated.name] == Price(0.30, "CNY")
    assert other.sizes.most_pixels == 2


def test_sizes_of_generations(tmp_path: Path) -> None:
    """Pictures from a prompt alone may be larger than edits."""
    config = load(tmp_path, f"{_NEW}generation_pixels = [589824, 16777216]\n{GOOD}")

    model = config.models.by_name["wan9-image"]
    assert model.sizes_of(Operation.EDIT).most_pixels == 4194304
    assert model.sizes_of(Operation.GENERATE).most_pixels == 16777216
