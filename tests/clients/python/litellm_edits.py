"""Edits by LiteLLM as a library: ``litellm_edits.py ORDER``, both ways JSON."""

import json
import sys
from pathlib import Path
from typing import Any

import litellm


def _fields_of(order: dict[str, Any], query: dict[str, Any]) -> dict[str, Any]:
    row = {"model": "openai/gpt-image-1", "api_base": order["base_url"], "api_key": order["key"]}
    files = [Path(name).open("rb") for name in query.pop("images")]  # noqa: SIM115 - one process, one call
    if "mask" in query:
        query["mask"] = Path(query["mask"]).open("rb")  # noqa: SIM115 - the same
    try:
        answer = litellm.image_edit(image=files, **row, **query)
    except Exception as error:  # noqa: BLE001 - its name is what is asked for
        return {"name": type(error).__name__, "message": str(error)}
    return {"pictures": [image.b64_json for image in answer.data]}


order = json.loads(sys.argv[1])
print(json.dumps([_fields_of(order, edit) for edit in order["edits"]]))  # noqa: T201 - its answer
