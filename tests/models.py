"""The built-in models, for tests."""

import re

from gateway.config.model_table import built_in_models

TABLE = built_in_models()
MODELS = TABLE.by_name
EDITOR = MODELS["wan2.5-i2i-preview"]
PAINTER = MODELS["wan2.5-t2i-preview"]


def is_snapshot(name: str) -> bool:
    return re.search(r"-\d{4}-\d{2}-\d{2}$", name) is not None
