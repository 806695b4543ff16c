import subprocess
import sys
from pathlib import Path

import pytest

from gateway.config import Config, ConfigError, explain, load_config
from gateway.config.schema import MetricsConfig, TracesConfig

_GOOD = (
    '[upstreams.main]\nregion = "beijing"\nkey = "env:K"\n'
    '[tenants.acme]\nregion = "beijing"\nopen = true\n'
)
_ENVIRON = {
    "K": "sk-canary",
    "TOKEN": "canary-token",
    "AUTH": "Bearer canary-auth",
    "HAN": "钥",
    "COLLECTOR": "http://collector:4318",
    "NO_URL": "canary-no-url",
}


def _load(folder: Path, text: str) -> Config:
    file = folder / "g.toml"
    file.write_text(_GOOD + text, "utf-8")
    return load_config(file, _ENVIRON)


def test_absent_means_off(tmp_path: Path) -> None:
    """Without a line metrics are on the main port for anyone, and there are no traces."""
    config = _load(tmp_path, "")

    assert (config.metrics, config.metrics_token) == (MetricsConfig(0, None, None), None)
    assert (config.traces, config.traces_headers) == (TracesConfig(None, None), {})


def test_metrics_and_traces(tmp_path: Path) -> None:
    """Port, address, token, collector, share and headers are what the file says."""
    config = _load(
        tmp_path,
        '[metrics]\nport = 9464\nhost = "::1"\ntoken = "env:TOKEN"\n'
        '[traces]\nendpoint = "https://collector:4318/otlp/"\nsample = 0.25\n'
        '[traces.headers]\nauthorization = "env:AUTH"\n',
    )

    assert (config.metrics.port, config.metrics.host) == (9464, "::1")
    assert config.metrics_token == "canary-token"
    assert config.traces == TracesConfig("https://collector:4318/otlp", 0.25)
    assert config.traces_headers == {"authorization": "Bearer canary-auth"}
    assert "canary" not in repr(config)


def test_the_collector_by_a_variable(tmp_path: Path) -> None:
    """The standard variable may name the collector."""
    config = _load(tmp_path, '[traces]\nendpoint = "env:COLLECTOR"\n')

    assert config.traces.endpoint == "http://collector:4318"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        pytest.param(
            '[metrics]\nport = "x"',
            'metrics.port: got "x"; use a whole number from 0 to 65535',
            id="port",
        ),
        pytest.param(
            '[metrics]\nhost = "::"',
            "metrics.host: needs metrics.port; set port, or remove host",
            id="host-without-port",
        ),
        pytest.param(
            '[metrics]\ntoken = "canary"',
            'metrics.token: is not a reference to a key; use "env:NAME" or "file:PATH"',
            id="token-itself",
        ),
        pytest.param(
            '[metrics]\ntoken = "env:AUTH"',
            "metrics.token: the environment variable AUTH has no key in it; "
            "put one word of ASCII there",
            id="token-of-two-words",
        ),
        pytest.param(
            '[traces]\nendpoint = "ftp://x"',
            'traces.endpoint: got "ftp://x"; use a URL such as "http://127.0.0.1:4318", or '
            '"env:OTEL_EXPORTER_OTLP_ENDPOINT"',
            id="endpoint",
        ),
        pytest.param(
            '[traces]\nendpoint = "http://me:canary@x"',
            "traces.endpoint: holds a user name or password; use a URL such as "
            '"http://127.0.0.1:4318", or "env:OTEL_EXPORTER_OTLP_ENDPOINT"',
            id="endpoint-with-a-password",
        ),
        pytest.param(
            '[traces]\nendpoint = "env:NOWHERE"',
            "traces.endpoint: the environment variable NOWHERE is not set; "
            "set it, or use file:PATH",
            id="endpoint-variable-not-set",
        ),
        pytest.param(
            '[traces]\nendpoint = "env:NO_URL"',
            'traces.endpoint: got "canary-no-url"; use a URL such as "http://127.0.0.1:4318", or '
            '"env:OTEL_EXPORTER_OTLP_ENDPOINT"',
            id="endpoint-variable-no-url",
        ),
        pytest.param(
            "[traces]\nsample = 1.5",
            "traces.sample: got 1.5; use a number from 0 to 1",
            id="sample",
        ),
        pytest.param(
            "[traces]\nsample = true",
            "traces.sample: got true; use a number from 0 to 1",
            id="sample-flag",
        ),
        pytest.param(
            "[traces]\nsample = nan",
            "traces.sample: got nan; use a number from 0 to 1",
            id="sample-nan",
        ),
        pytest.param(
            '[traces.headers]\n"x y" = "env:AUTH"',
            'traces.headers."x y": is not a header name; use letters, digits and -',
            id="header-name",
        ),
        pytest.param(
            '[traces.headers]\nauthorization = "Bearer canary"',
            "traces.headers.authorization: is not a reference to a key; "
            'use "env:NAME" or "file:PATH"',
            id="header-itself",
        ),
        pytest.param(
            '[traces.headers]\nauthorization = "env:HAN"',
            "traces.headers.authorization: the environment variable HAN has no key in it; "
            "put one word of ASCII there",
            id="header-no-ascii",
        ),
        pytest.param(
            "[traces]\nratio = 1", "traces.ratio: unknown key; remove it", id="unknown-key"
        ),
    ],
)
def test_complaints(tmp_path: Path, text: str, complaint: str) -> None:
    """What is wrong stops the start with its place, the fault and the remedy."""
    with pytest.raises(ConfigError) as caught:
        _load(tmp_path, text)

    message = str(caught.value)
    assert message == f"{tmp_path / 'g.toml'}: {complaint}"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        pytest.param("", "metrics   with the rest, for anyone", id="metrics"),
        pytest.param(
            '[metrics]\ntoken = "env:TOKEN"',
            "metrics   with the rest, for holders of the token",
            id="token",
        ),
        pytest.param(
            "[metrics]\nport = 9464", "metrics   on 127.0.0.1:9464, for anyone", id="port"
        ),
        pytest.param(
            '[metrics]\nport = 9464\nhost = "::1"', "metrics   on [::1]:9464, for anyone", id="host"
        ),
        pytest.param(
            '[traces]\nendpoint = "http://c:4318"', "traces    edits to http://c:4318", id="traces"
        ),
        pytest.param(
            '[traces]\nendpoint = "http://c:4318"\nsample = 0.05',
            "traces    5 % of edits to http://c:4318",
            id="sample",
        ),
    ],
)
def test_explained(tmp_path: Path, text: str, line: str) -> None:
    """`check` says where metrics and traces are to be had."""
    words = explain(_load(tmp_path, text))

    assert line in words.splitlines()
    assert "canary" not in words


WITHOUT = """
import sys

class Without:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "opentelemetry":
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Without())
from gateway.cli import main
sys.exit(main(["check", "--config", sys.argv[1]], {"K": "sk-canary"}))
"""


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        pytest.param("", 0, "", id="not-asked-for"),
        pytest.param(
            '[traces]\nendpoint = "http://c:4318"',
            2,
            "traces.endpoint: needs a package that is not installed; "
            "run pip install 'wan-gateway[otel]', or remove it\n",
            id="asked-for",
        ),
    ],
)
def test_without_the_extra(tmp_path: Path, text: str, code: int, message: str) -> None:
    """Who asks for traces without their packages is told what to install; who does not, nothing."""
    file = tmp_path / "g.toml"
    file.write_text(_GOOD + text)

    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, str(file)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )

    assert (done.returncode, done.stderr) == (code, f"{file}: {message}" if message else "")
