"""What the newer models say of the pictures that they made (section 9): choices, and usage."""

from collections.abc import Sequence
from typing import Any

from gateway.sandbox.models import rules_of
from gateway.sandbox.tasks import SandboxTask

_DEAR_PIXELS = 2_250_000
"""Above it, a picture of qwen-image-3.0-pro has the dearer price."""


def messages_output(task: SandboxTask, urls: Sequence[str], *, apart: bool) -> dict[str, Any]:
    """
    Return ``output`` of a good end, without what only a task has.

    Args:
        task: It has ended.
        urls: Of all its results; failed ones are left out, and nothing says which.
        apart: Whether each picture has a choice of its own with every model; else several of
            qwen's are parts of one choice, as the service answers.
    """
    good = [url for index, url in enumerate(urls) if index not in task.failures]
    of_wan = task.request.model.startswith("wan")
    # Some answers name the type and some do not; nobody may depend on it.
    typed = {"type": "image"} if of_wan or task.number % 2 else {}
    pictures: list[dict[str, str]] = [{"image": url, **typed} for url in good]
    output: dict[str, Any] = {"finished": True} if of_wan else {}
    if task.request.model.startswith("qwen-image-3.0"):
        output["rewrite_status"] = "success" if task.request.prompt_extend else "not_use"
    each = of_wan or apart
    contents = [[picture] for picture in pictures] if each else [pictures]
    choices = [_choice(content) for content in contents]
    if task.request.model.startswith("z-image"):
        content = choices[0]["message"]["content"]
        content.append({"text": task.request.actual_prompt})
        choices[0]["message"]["reasoning_content"] = ""
    return {**output, "choices": choices}


def usage(task: SandboxTask) -> dict[str, Any]:
    """Return ``usage`` of a good end, in the fields of the model."""
    request = task.request
    made = request.n - len(task.failures)
    width, height = request.result_size
    match rules_of(request.model).usage:
        case "sides":
            return {"image_count": made, "width": width, "height": height}
        case "output":
            tier = "2k" if width * height > _DEAR_PIXELS else "1k"
            return {
                "output_width": width,
                "output_height": height,
                "output_image_count": made,
                "output_image_type": f"qima_output_{tier}",
                "input_image_count": len(request.images),
                "input_image_type": f"qima_input_{tier}",
            }
        case _:
            tokens = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
            return {"image_count": made, "size": f"{width}*{height}", **tokens}


def _choice(content: list[dict[str, str]]) -> dict[str, Any]:
    return {"finish_reason": "stop", "message": {"role": "assistant", "content": content}}
