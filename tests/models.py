"""The built-in models, for tests."""

from gateway.config.model_table import built_in_models

TABLE = built_in_models()
MODELS = TABLE.by_name
EDITOR = MODELS["wan2.5-i2i-preview"]
PAINTER = MODELS["wan2.5-t2i-preview"]
