import pytest

from gateway.domain.models import DEFAULTS, ModelTable, Operation
from tests.models import MODELS, TABLE


def test_each_default_is_in_the_table() -> None:
    """What a request without a model gets does what its path is for."""
    for operation, name in DEFAULTS.items():
        assert MODELS[name].does(operation)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_of_the_table(name: str) -> None:
    """Each model is under its own name, has a path, and takes pictures if it edits them."""
    model = MODELS[name]

    assert model.name == name
    assert model.path(with_pictures=True).startswith("/services/aigc/")
    assert bool(model.inputs.most) >= model.does(Operation.EDIT)
    assert model.sizes.least_pixels < model.sizes.most_pixels
    assert all(name in TABLE.that_do(operation) for operation in model.operations)


def test_a_model_that_was_removed() -> None:
    """Its tasks are followed: most models make some, of up to four pictures."""
    model = ModelTable({}).model("wan2.0-i2i")

    assert (model.name, model.has_tasks, model.most_made) == ("wan2.0-i2i", True, 4)
