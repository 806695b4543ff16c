"""DashScope's regions, and the hosts where each is reached (docs/models.md, "Regions")."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from urllib.parse import urlsplit

_ALIYUN = "aliyuncs.com"
NATIVE_PATH = "/api/v1"


@dataclass(frozen=True, slots=True)
class BuiltInRegion:
    """One region of DashScope's."""

    id: str
    """As it is spelled in host names."""
    shared_host: str = ""
    """For keys of every workspace; empty: only workspaces have hosts there."""


BUILT_IN: Mapping[str, BuiltInRegion] = MappingProxyType(
    {
        "beijing": BuiltInRegion("cn-beijing", f"dashscope.{_ALIYUN}"),
        "singapore": BuiltInRegion("ap-southeast-1", f"dashscope-intl.{_ALIYUN}"),
        "virginia": BuiltInRegion("us-east-1", f"dashscope-us.{_ALIYUN}"),
        "frankfurt": BuiltInRegion("eu-central-1"),
        "tokyo": BuiltInRegion("ap-northeast-1"),
        "hongkong": BuiltInRegion("cn-hongkong", f"cn-hongkong.dashscope.{_ALIYUN}"),
    }
)
"""By the name that a config has for it."""


def shared_url(region: str) -> str:
    """Return the base URL of a region by name; empty where none is built in."""
    host = BUILT_IN[region].shared_host if region in BUILT_IN else ""
    return f"https://{host}{NATIVE_PATH}" if host else ""


def workspace_url(region: str, workspace: str) -> str:
    """Return the base URL of a *workspace* in a built-in region."""
    return f"https://{workspace}.{BUILT_IN[region].id}.maas.{_ALIYUN}{NATIVE_PATH}"


def is_alibabas(host: str | None) -> bool:
    return f".{host}".endswith(f".{_ALIYUN}")


def result_hosts_of(base_url: str) -> tuple[str, ...]:
    """Return Aliyun's storage, and the host of a sandbox, which serves its results itself."""
    url = urlsplit(base_url)
    own = () if not base_url or is_alibabas(url.hostname) else (url.netloc,)
    return (f"*.{_ALIYUN}", *own)
