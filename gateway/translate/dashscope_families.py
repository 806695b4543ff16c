"""Edit → its submit, in the wire format that its model speaks."""

from collections.abc import Callable, Mapping, Sequence

from gateway.domain.edit import Edit, Part, Picture
from gateway.domain.models import MODELS, Family
from gateway.translate.dashscope_messages import messages_body
from gateway.translate.dashscope_request import SubmitBody
from gateway.translate.dashscope_synthesis import synthesis_body

_Writer = Callable[[Edit, Part, Sequence[Picture]], SubmitBody]
_WRITERS: Mapping[Family, _Writer] = {
    Family.SYNTHESIS: synthesis_body,
    Family.MESSAGES: messages_body,
    Family.SYNCHRONOUS: messages_body,
}


def submit_body(edit: Edit, part: Part, pictures: Sequence[Picture]) -> SubmitBody:
    """Translate the *part* of *edit* into the body of its model's submit."""
    return _WRITERS[MODELS[edit.model].family](edit, part, pictures)
