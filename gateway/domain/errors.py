"""
Every error of a request, as the client sees it.

GatewayError                 status  type                         code                      retry
├── UnknownKey                  401  invalid_request_error        invalid_api_key           no
├── Forbidden                   403  invalid_request_error        forbidden                 no
├── InvalidRequest              400  invalid_request_error        invalid_value (1)         no
│   ├── UnknownModel            400  image_generation_user_error  invalid_value             no
│   ├── InvalidImage            400  image_generation_user_error  invalid_image_file        no
│   ├── ContentRefused          400  image_generation_user_error  moderation_blocked        no
│   ├── RequestTooLarge         413  invalid_request_error        request_too_large         no
│   ├── UnsupportedCoding       415  invalid_request_error        unsupported_content_encoding  no
│   ├── KeyReused               422  invalid_request_error        idempotency_key_reused    no
│   ├── NotFound                404  invalid_request_error        not_found (1)             no
│   ├── Gone                    410  invalid_request_error        gone                      no
│   ├── RangeNotSatisfiable     416  invalid_request_error        range_not_satisfiable     no
│   └── MethodNotAllowed        405  invalid_request_error        method_not_allowed        no
├── BodyTooSlow                 408  invalid_request_error        request_timeout           yes
├── RateLimited                 429  rate_limit_error             rate_limit_exceeded       yes
├── Overloaded                  503  service_unavailable_error    server_is_overloaded      yes
├── Draining                    503  service_unavailable_error    server_is_draining        yes
├── UpstreamUnavailable         503  server_error                 upstream_unavailable      no
├── UpstreamUnreachable         503  server_error                 upstream_unreachable      yes
├── LedgerUnavailable           503  server_error                 ledger_unavailable        yes
├── SubmitUncertain             503  server_error                 submit_uncertain          yes (3)
├── StillRunning                503  server_error                 still_running             yes
├── ResultUnavailable           503  server_error                 result_unavailable        yes (4)
├── ResultStoreUnavailable      503  server_error                 result_store_unavailable  yes
├── UpstreamFailed              500  server_error                 upstream_failed           yes
├── TaskLost                    500  server_error                 upstream_task_lost        no (2)
└── InternalError               500  server_error                 internal_error            no
    └── LedgerConflict          500  server_error                 internal_error            no

(1) or the code that the instance names. (2) yes after a CANCELED task: it cost nothing.
(3) no for a model without tasks, whose submits cannot be looked up. (4) no if it is lost for good.
No error has status 502 or 504 (D15).
"""

from copy import copy
from typing import ClassVar, Self

MOST_RETRY_SECONDS = 60
"""Above it some of OpenAI's SDKs back off as they like, and others do not retry at all."""


class GatewayError(Exception):
    """
    A failure, with its fields in OpenAI's error envelope.

    Args:
        message: One sentence for the client: what is wrong and what to do.
        param: The OpenAI field to change, if one is at fault.
        code: Overrides the class's code.
        retry: Whether the SDK should repeat the call; overrides the class's.
        retry_after: Seconds after which a retry makes sense, 0 to MOST_RETRY_SECONDS.
        upstream_code: DashScope's own code, for the log line and the operator.
        upstream_request_id: DashScope's request id, the same.
    """

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    code: str = "internal_error"
    retry: bool = False

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry: bool | None = None,
        retry_after: float | None = None,
        upstream_code: str | None = None,
        upstream_request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        if code is not None:
            self.code = code
        if retry is not None:
            self.retry = retry
        self.retry_after = retry_after
        self.upstream_code = upstream_code
        self.upstream_request_id = upstream_request_id
        self.upstream_message: str | None = None
        """DashScope's own text if *message* hides it; for the log and the operator."""
        self.upstream_text = ""
        """Upstream's own text, as it is part of the message."""
        self.edit_id: str | None = None
        """The edit that this error belongs to, if it is known."""

    @property
    def maybe_billed(self) -> bool:
        """Whether pictures may have been billed and are lost; never retried unasked (D94)."""
        return isinstance(self, MAYBE_BILLED) and not self.retry

    def without_traceback(self) -> Self:
        """Return a copy without a traceback, whose frames would keep pictures in memory."""
        return copy(self)


class UnknownKey(GatewayError):
    status = 401
    type = "invalid_request_error"
    code = "invalid_api_key"


class Forbidden(GatewayError):
    """A page for operators, requested from an address that may not see it."""

    status = 403
    type = "invalid_request_error"
    code = "forbidden"


class InvalidRequest(GatewayError):
    """The client's fault: the same request will be refused again."""

    status = 400
    type = "invalid_request_error"
    code = "invalid_value"


class UnknownModel(InvalidRequest):
    type = "image_generation_user_error"


class InvalidImage(InvalidRequest):
    type = "image_generation_user_error"
    code = "invalid_image_file"


class ContentRefused(InvalidRequest):
    type = "image_generation_user_error"
    code = "moderation_blocked"


class RequestTooLarge(InvalidRequest):
    status = 413
    code = "request_too_large"


class UnsupportedCoding(InvalidRequest):
    """The body has a content coding that is not supported."""

    status = 415
    code = "unsupported_content_encoding"


class KeyReused(InvalidRequest):
    """An ``Idempotency-Key`` came back with other content."""

    status = 422
    code = "idempotency_key_reused"


class NotFound(InvalidRequest):
    status = 404
    code = "not_found"


class Gone(InvalidRequest):
    """OpenAI has removed it from its API."""

    status = 410
    code = "gone"


class RangeNotSatisfiable(InvalidRequest):
    """The header ``Range`` of a GET begins behind the end of what has *size* bytes."""

    status = 416
    code = "range_not_satisfiable"

    def __init__(self, size: int) -> None:
        super().__init__(f"The range begins behind the end: the picture has {size} bytes.")
        self.size = size


class MethodNotAllowed(InvalidRequest):
    status = 405
    code = "method_not_allowed"


class BodyTooSlow(GatewayError):
    status = 408
    type = "invalid_request_error"
    code = "request_timeout"
    retry = True


class RateLimited(GatewayError):
    """The queue is full or the wait longer than the timeout; nothing was submitted."""

    status = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"
    retry = True


class Overloaded(GatewayError):
    """The memory budget is used up; nothing was submitted."""

    status = 503
    type = "service_unavailable_error"
    code = "server_is_overloaded"
    retry = True


class Draining(GatewayError):
    status = 503
    type = "service_unavailable_error"
    code = "server_is_draining"
    retry = True


class UpstreamUnavailable(GatewayError):
    """The upstream key is refused, in arrears or out of quota: the operator has to act."""

    status = 503
    code = "upstream_unavailable"


class UpstreamUnreachable(GatewayError):
    """There was no connection, and no byte was sent: another upstream may be tried."""

    status = 503
    code = "upstream_unreachable"
    retry = True


class LedgerUnavailable(GatewayError):
    """The ledger cannot be written: refused before money is spent."""

    status = 503
    code = "ledger_unavailable"
    retry = True


class SubmitUncertain(GatewayError):
    """A byte of a submit may have arrived: a task may or may not exist, or ever be found."""

    status = 503
    code = "submit_uncertain"
    retry = True
    refusal: GatewayError | None = None
    """The error if it turns out that no task was made; ``None``: submit again."""


class StillRunning(GatewayError):
    """The deadline came before the task ended; a retry joins the edit."""

    status = 503
    code = "still_running"
    retry = True


class ResultUnavailable(GatewayError):
    """The picture exists but cannot be downloaded; a retry joins the edit."""

    status = 503
    code = "result_unavailable"
    retry = True


class ResultStoreUnavailable(GatewayError):
    """The store of ``[results]`` fails: the picture is made, and can be had in base64."""

    status = 503
    code = "result_store_unavailable"
    retry = True


class UpstreamFailed(GatewayError):
    """The task failed at the upstream and was not billed: a retry makes a new one."""

    status = 500
    code = "upstream_failed"
    retry = True


class TaskLost(GatewayError):
    """The task is CANCELED or UNKNOWN."""

    status = 500
    code = "upstream_task_lost"


MAYBE_BILLED = (SubmitUncertain, ResultUnavailable, TaskLost)
"""Without a retry these may have been billed; see GatewayError.maybe_billed."""


class InternalError(GatewayError):
    """A bug in the gateway; the client sees nothing but the request id."""


class IntentExpired(UpstreamUnreachable):
    """A submit took too long to leave; it was left unfinished, so nothing was made."""


class LedgerConflict(InternalError):
    """The ledger disagrees: the edit has ended, or the task is another edit's. Never retried."""


class TaskFoundError(Exception):
    """
    The ledger has learned meanwhile that a part, which is about to be submitted, has a task.

    Args:
        task_id: The task.
        upstream: Name of the upstream that made it: only keys of its account see it.
    """

    def __init__(self, task_id: str, upstream: str) -> None:
        super().__init__(task_id, upstream)
        self.task_id = task_id
        self.upstream = upstream


class Throttled(RateLimited):
    """DashScope throttles the account (HTTP 429): the edit waits and does not fail."""


def rebuild_error(
    kind: str | None, code: str | None, message: str | None, *, retry: bool
) -> GatewayError:
    """Rebuild an error from the ledger; *kind* is the name of its class."""
    classes = {cls.__name__: cls for cls in _below(GatewayError)}
    cls = classes.get(kind or "", InternalError)
    return cls(message or "The edit failed.", code=code, retry=retry)


def _below(cls: type[GatewayError]) -> list[type[GatewayError]]:
    return [below for child in cls.__subclasses__() for below in (child, *_below(child))]


ERROR_TYPES = (
    "content_policy",
    "invalid_image",
    "invalid_parameter",
    "throttled",
    "quota",
    "auth",
    "region_mismatch",
    "upstream_internal",
    "network",
    "timeout",
    "other",
)

_BY_CLASS: tuple[tuple[type[GatewayError], str], ...] = (
    # A class is listed before its base class.
    (ContentRefused, "content_policy"),
    (InvalidImage, "invalid_image"),
    (InvalidRequest, "invalid_parameter"),
    (RateLimited, "throttled"),
    (UpstreamUnavailable, "auth"),
    (UpstreamUnreachable, "network"),
    (SubmitUncertain, "network"),
    (ResultUnavailable, "network"),
    (StillRunning, "timeout"),
    (UpstreamFailed, "upstream_internal"),
)

# What makes an upstream unavailable, by the beginning of DashScope's code (dashscope.md 7.1, 7.2).
_UNAVAILABLE: tuple[tuple[str, str], ...] = (
    ("allocationquota", "quota"),
    ("arrearage", "quota"),
    ("commoditynotpurchased", "quota"),
    ("insufficientquota", "quota"),
    ("postpaidbilloverdue", "quota"),
    ("prepaidbilloverdue", "quota"),
    ("throttling", "quota"),
    # The endpoint does not know the model or path: mostly a key of another region.
    ("invalidparameter", "region_mismatch"),
    ("model.notexist", "region_mismatch"),
    ("modelnot", "region_mismatch"),
    ("notauthorized", "region_mismatch"),
    ("notfound", "region_mismatch"),
    ("workspacenotfound", "region_mismatch"),
)
_TIMEOUTS = ("internalerror.timeout", "requesttimeout", "gatewaytimeout")


def error_type(error: GatewayError) -> str:
    """Return the one of ERROR_TYPES that *error* belongs to."""
    code = (error.upstream_code or "").replace("_", "").replace(" ", "").casefold()
    kind = next((kind for cls, kind in _BY_CLASS if isinstance(error, cls)), "other")
    if kind == "auth":
        return next((kind for head, kind in _UNAVAILABLE if code.startswith(head)), kind)
    if kind == "upstream_internal" and code.startswith(_TIMEOUTS):
        return "timeout"
    return kind
