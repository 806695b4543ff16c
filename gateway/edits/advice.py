"""The operator's warning about an upstream that refuses its work: which, why, what to do."""

from gateway.domain.errors import GatewayError, SubmitUncertain, UpstreamFailed, error_type
from gateway.domain.tenant import Upstream

_RENEW = "put a valid key of this region where upstreams.{upstream}.key points, and start again"
_PAY = "pay the bill of the account, or have its quota raised, at Alibaba"
_OPEN = "open the model {model} for the account (and its workspace) at Alibaba"
_ADDRESS = (
    "see that regions.{region}.base_url is the native API of the key's region (…/api/v1), and "
    "that the model {model} is opened for the account"
)
_REACH = (
    "look at regions.{region}.base_url, DNS, the firewall, and the proxy that HTTPS_PROXY or "
    "ALL_PROXY names"
)
_REPORT = "look the code up in docs/dashscope-errors.md; if it is not there, report it"
_BY_CODE = (
    ("model.accessdenied", _OPEN),
    ("accessdenied", _OPEN),
    ("http4", _ADDRESS),
    ("http3", _ADDRESS),
    ("unsupportedoperation", _ADDRESS),
)
_TIMEOUTS = ("HTTP 408", "HTTP 499")
_BY_TYPE = {
    "auth": _RENEW,
    "quota": _PAY,
    "region_mismatch": _ADDRESS,
    "network": _REACH,
}


def advice(error: GatewayError, upstream: Upstream, model: str) -> dict[str, str]:
    """Return the fields of the operator's warning about *error*."""
    code = (error.upstream_code or error.code).replace("_", "").replace(" ", "").casefold()
    by_code = next((what for head, what in _BY_CODE if code.startswith(head)), None)
    remedy = by_code or _BY_TYPE.get(error_type(error), _REPORT)
    region = upstream.region.name
    return {
        "upstream": upstream.name,
        "account": upstream.account.name,
        "region": region,
        "model": model,
        "reason": error.upstream_code or error.code,
        "upstream_says": error.upstream_message or "",
        "remedy": remedy.format(upstream=upstream.name, region=region, model=model or "asked for"),
    }


def is_foreign_answer(error: GatewayError) -> bool:
    """Return whether something other than DashScope answered a submit: a proxy, or a wrong URL."""
    code = error.upstream_code or ""
    foreign = code.startswith(("HTTP 3", "HTTP 4")) and code not in _TIMEOUTS
    return isinstance(error, SubmitUncertain) and foreign


def is_unexpected_refusal(error: GatewayError) -> bool:
    """Return whether a submit was refused for good, and not because of its content."""
    return isinstance(error, UpstreamFailed) and not error.retry
