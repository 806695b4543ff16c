"""
Outcomes written into the prompt, for demos without an admin door.

``[sandbox:fail CODE]``, ``[sandbox:refuse CODE]``, ``[sandbox:partial 0,2]``,
``[sandbox:seconds 3]``, ``[sandbox:cancel]``, ``[sandbox:unknown]``; several may stand together.
Where the answer is the result they come to what `gateway.sandbox.faults.End` says.
"""

import re
from dataclasses import replace
from math import isfinite

from gateway.sandbox.answers import Refusal, status_of, text_of
from gateway.sandbox.faults import End

_SCRIPT = re.compile(r"\[sandbox:(\w+)(?: +([\w., ]+?))?\]")


def end_by_prompt(prompt: str) -> End:
    """
    Read how a task shall end from its prompt; without a script it succeeds.

    Raises:
        Refusal: The prompt asks to be refused at POST, or holds a script that is not one.
    """
    end = End()
    for match in _SCRIPT.finditer(prompt):
        end = _apply(end, match[1], match[2] or "", match[0])
    return end


def _apply(end: End, verb: str, argument: str, text: str) -> End:
    try:
        match verb:
            case "fail":
                return replace(end, status="FAILED", code=argument or end.code)
            case "refuse":
                code = argument or "InvalidParameter"
                raise Refusal(status_of(code), code, text_of(code))
            case "partial":
                return replace(end, images=tuple(int(part) for part in argument.split(",")))
            case "seconds":
                return replace(end, seconds=_seconds(argument))
            case "cancel":
                return replace(end, status="CANCELED")
            case "unknown":
                return replace(end, status="UNKNOWN")
    except ValueError:
        pass
    raise Refusal(400, "InvalidParameter", f"{text} is not a script of the sandbox")


def _seconds(argument: str) -> float:
    seconds = float(argument)
    if not isfinite(seconds):
        raise ValueError(argument)
    return seconds
