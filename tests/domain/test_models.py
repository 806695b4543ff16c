import pytest

from gateway.domain.models import DEFAULTS, MODELS, Operation, models_that


def test_each_default_is_in_the_table() -> None:
    """What a request without a model gets does what its path is for."""
    assert {operation: MODELS[name].operation for operation, name in DEFAULTS.items()} == {
        it: it for it in Operation
    }


@pytest.mark.parametrize("name", MODELS)
def test_a_line_of_the_table(name: str) -> None:
    """Each model is under its own name, has a path, and takes pictures only if it edits them."""
    model = MODELS[name]

    assert model.name == name
    assert model.path.startswith("/services/aigc/")
    assert bool(model.inputs.most) is (model.operation is Operation.EDIT)
    assert model.sizes.least_pixels < model.sizes.most_pixels
    assert name in models_that(model.operation)
