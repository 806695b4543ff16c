"""The Dockerfile, carried out as plain commands: there is no engine in a test."""

import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.config import Config, load_config
from gateway.domain.loopback import is_loopback
from tests.packaging.dockerfile import Folder, Step, is_sent, stages_of, steps_of, words_of
from tests.ports import free_port

ROOT = Path(__file__).parents[2]
STEPS = steps_of((ROOT / "Dockerfile").read_text("utf-8"))
FINAL = stages_of(STEPS)[-1]


def _only(word: str) -> Step:
    (step,) = [step for step in FINAL if step.word == word]
    return step


def _container_toml() -> Config:
    return load_config(ROOT / "config" / "container.toml", {"DASHSCOPE_API_KEY": "sk-x"})


def test_config_is_for_a_container() -> None:
    """It listens to the container's network, remembers on the volume, and is open to nobody."""
    config = _container_toml()

    assert not is_loopback(config.server.host)
    assert config.state.path.startswith(_only("VOLUME").rest + "/")
    assert str(config.server.port) == _only("EXPOSE").rest
    assert config.open_tenant is None
    assert len(config.tenant_by_key) == 1


def test_user_is_not_root() -> None:
    """Whatever runs, runs as an unprivileged user, by number, who owns the state's folder."""
    made = next(step.rest for step in FINAL if "useradd" in step.rest)
    user, _, group = _only("USER").rest.partition(":")
    order = [step.word for step in FINAL]

    assert int(user) > 0
    assert int(group) > 0
    assert f"groupadd --system --gid {group} gateway" in made
    assert f"--uid {user} --gid {group} --create-home" in made
    assert f"--create-home --home-dir {_only('VOLUME').rest}" in made
    assert order.index("USER") < order.index("ENTRYPOINT")


def test_a_change_of_the_code_leaves_the_dependencies() -> None:
    """They are installed, and get into the image, before any file of the code does."""
    copies = [step.rest for step in STEPS if step.word == "COPY"]

    first_of_code = copies.index("gateway gateway")
    assert "gateway" not in copies[0].split()
    assert first_of_code == 1
    assert copies[2:4] == [
        "--from=dependencies /opt/wan-gateway /opt/wan-gateway",
        "--from=build /opt/code /opt/wan-gateway",
    ]


def test_labels_are_of_the_package() -> None:
    """The image is named, and has the package's own version and licence."""
    labels = dict(word.split("=", 1) for word in shlex.split(_only("LABEL").rest))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    prefix = "org.opencontainers.image."

    assert labels == {
        f"{prefix}title": project["name"],
        f"{prefix}description": project["description"].rstrip("."),
        f"{prefix}version": project["version"],
        f"{prefix}licenses": project["license"],
    }


def test_no_secret_in_a_layer() -> None:
    """No step takes or sets a key, and only what is copied by name goes to the builder."""
    assert not [step for step in STEPS if step.word in {"ARG", "ADD"}]
    assert not re.search(r"key|secret|token|password", str([s for s in STEPS if s.word == "ENV"]))
    for private in (".env", ".git", "state", "config/gateway.toml", "config/mine.toml", ".venv"):
        assert not is_sent(ROOT, private)
    for step in STEPS:
        if step.word == "COPY":
            assert "." not in step.rest.split()[:-1]


def test_the_process_gets_the_signals() -> None:
    """No shell stands between the engine's SIGTERM and the gateway."""
    assert words_of(_only("ENTRYPOINT").rest) == ["wan-gateway"]
    assert words_of(_only("CMD").rest)[0] == "serve"
    assert _only("STOPSIGNAL").rest == "SIGTERM"


@dataclass(frozen=True, slots=True)
class Image:
    """The image's tree in a folder, with the variables that its process gets."""

    folder: Folder
    env: Mapping[str, str]


@pytest.fixture
def image(tmp_path: Path) -> Image:
    """Every step of both stages, but for the making of a user, which only root may do."""
    folder = Folder(tmp_path / "image", ROOT)
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.symlink_to(Path(sys.executable).resolve())
    index = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    env = {"PATH": f"{python.parent}:{os.defpath}", "HOME": str(tmp_path), **index}
    workdir = "/"
    for step in STEPS:
        match step.word:
            case "WORKDIR":
                workdir = step.rest
                Path(folder.here(workdir)).mkdir(parents=True, exist_ok=True)
            case "COPY" if step.rest.startswith("--from"):
                folder.copy_between_stages(step)
            case "COPY":
                folder.copy(step, workdir)
            case "RUN" if not step.rest.startswith("groupadd"):
                folder.run(step, workdir, env)
            case "ENV":
                fields = dict(word.split("=", 1) for word in shlex.split(step.rest))
                path = f"{folder.here(fields.pop('PATH')).removesuffix(':$PATH')}:{env['PATH']}"
                env |= fields | {"PATH": path}
    return Image(folder, env)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_image_serves(image: Image) -> None:
    """What the steps make starts, is found well by HEALTHCHECK, and ends at SIGTERM with 0."""
    folder, env = image.folder, {**image.env, "DASHSCOPE_API_KEY": "sk-x"}
    port = str(free_port())
    config = Path(folder.here("/etc/wan-gateway/gateway.toml"))
    config.write_text(folder.here(config.read_text("utf-8")).replace("8080", port))
    health = words_of(_only("HEALTHCHECK").rest)
    assert health[-1] == "1"  # the process of the container
    command = [*words_of(_only("ENTRYPOINT").rest), *words_of(_only("CMD").rest)]
    workdir = folder.here(_only("WORKDIR").rest)

    def is_well(pid: int) -> bool:
        return _run([*health[:-1], str(pid)], env, workdir).returncode == 0

    before = is_well(os.getpid())
    found = _run(["which", command[0]], env, workdir).stdout.strip()
    with subprocess.Popen(
        [found, *map(folder.here, command[1:])], env=env, cwd=workdir, stdout=subprocess.DEVNULL
    ) as process:
        late = time.monotonic() + 90
        while not is_well(process.pid) and process.poll() is None and time.monotonic() < late:
            threading.Event().wait(0.1)
        after = is_well(process.pid)
        process.send_signal(signal.SIGTERM)
        code = process.wait(60)

    assert (before, after, code) == (False, True, 0)
    assert found.startswith(str(folder.root))
    assert Path(folder.here("/var/lib/wan-gateway/gateway.db")).exists()


def _run(
    command: list[str], env: Mapping[str, str], cwd: str
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["/usr/bin/env", *command], env=env, cwd=cwd, capture_output=True, text=True, check=False
    )
