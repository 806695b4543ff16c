"""One edit by whatever ``openai`` is on the path: ``edit.py ORDER``, both ways JSON."""

import json
import sys
from pathlib import Path
from typing import Any

import openai


def _client(order: dict[str, Any]) -> openai.OpenAI:
    more = {"api_key": order["key"], **order.get("client", {})}
    if azure := order.get("azure"):
        return openai.AzureOpenAI(azure_endpoint=azure, api_version="2025-04-01-preview", **more)
    return openai.OpenAI(base_url=order["base_url"], **more)


def _fields_of(answer: Any) -> dict[str, Any]:
    if not hasattr(answer, "data"):  # a stream
        return {"events": [event.model_dump() for event in answer]}
    return {"pictures": [image.b64_json for image in answer.data], "created": answer.created}


def _fault(error: openai.APIError) -> dict[str, Any]:
    return {
        "name": type(error).__name__,
        "status": getattr(error, "status_code", None),
        "code": error.code,
        "param": error.param,
        "text": str(error),
    }


def main() -> None:
    order = json.loads(sys.argv[1])
    image: Any = Path(order["picture"])
    if order.get("many"):
        image = [image] * order["many"]
    try:
        fields = {"image": image, "prompt": order["prompt"], **order.get("fields", {})}
        result = _fields_of(_client(order).images.edit(**fields))
    except openai.APIError as error:
        result = _fault(error)
    print(json.dumps({"version": openai.__version__, **result}))  # noqa: T201 - its answer


main()
