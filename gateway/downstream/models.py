"""The model list, which Dify, n8n and LobeChat ask for before they send anything."""

from collections.abc import Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from gateway.domain.errors import NotFound
from gateway.domain.models import Offer
from gateway.downstream.keys import Keyring
from gateway.downstream.request_line import line_of
from gateway.translate.openai_response import model_answer, models_answer

# 2025-09-23, when wan2.5 came out: SDKs require the field, nobody reads it.
_CREATED = 1_758_585_600
_JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Models:
    keyring: Keyring
    names: Sequence[str]
    """Every name that may be asked for, DashScope's own first."""
    offers: Sequence[Offer] = ()
    """What is done at each path: a name that one of them takes exists, listed or not."""

    async def get_all(self, request: Request) -> Response:
        self._admit(request)
        return Response(models_answer(self.names, created=_CREATED), media_type=_JSON)

    async def get(self, request: Request) -> Response:
        """
        Answer one model.

        Raises:
            NotFound: there is none of that name.
        """
        self._admit(request)
        name = request.path_params["id"].rstrip("/")
        if name not in self.names and not any(offer.model_of(name) for offer in self.offers):
            raise NotFound(
                f"The model `{name}` does not exist or you do not have access to it.",
                code="model_not_found",
            )
        return Response(model_answer(name, created=_CREATED), media_type=_JSON)

    def _admit(self, request: Request) -> None:
        line_of(request.scope).tenant = self.keyring.tenant_of(request.headers).name
