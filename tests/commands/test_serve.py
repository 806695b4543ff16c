from argparse import Namespace

import pytest

from gateway.cli import main
from gateway.commands import serve
from gateway.config import Config, ConfigError

ENVIRON = {"DASHSCOPE_API_KEY": "sk-canary"}


def test_serves_the_config_at_the_address_asked_for() -> None:
    """The command line's address wins over the config's; the server's exit code is ours."""
    served: list[Config] = []

    def fake(config: Config) -> int:
        served.append(config)
        return 7

    code = serve.run(Namespace(config=None, host="localhost", port=9, abandon=False), ENVIRON, fake)

    assert code == 7
    assert [(it.server.host, it.server.port) for it in served] == [("localhost", 9)]


def test_nothing_to_serve(capsys: pytest.CaptureFixture[str]) -> None:
    """Neither a file nor a key: code 2 and a line that helps."""
    code = main(["serve"], {})

    assert code == 2
    assert capsys.readouterr().err == (
        "environment: DASHSCOPE_API_KEY: is not set; set it, or give --config FILE\n"
    )


def test_an_open_tenant_is_not_served_to_the_network() -> None:
    """--host cannot hand the operator's money to everyone around."""
    with pytest.raises(ConfigError):
        serve.run(
            Namespace(config=None, host="0.0.0.0", port=None, abandon=False), ENVIRON, lambda _: 0
        )
