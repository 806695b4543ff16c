"""LiteLLM's proxy in an environment of its own, passing the same edits along."""

import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.load import MODEL
from benchmarks.programs import Spawn, free_port

_PACKAGE = "litellm[proxy]"
_INSTALL_SECONDS = 600


def installed(folder: Path | None = None) -> Path | None:
    """
    Return LiteLLM's command, installed by pip if it is not there yet.

    Args:
        folder: Its environment; by default one that stays in the folder for temporary files.

    Returns:
        ``None``, and a message is printed, where it cannot be had.
    """
    folder = folder or Path(tempfile.gettempdir(), "benchmarks-litellm")
    command = folder / "bin" / "litellm"
    if command.exists():
        return command
    try:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True, timeout=120)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", _PACKAGE]
        subprocess.run(pip, check=True, timeout=_INSTALL_SECONDS, capture_output=True)
    except (OSError, subprocess.SubprocessError) as error:
        print(f"LiteLLM is left out: it cannot be installed ({type(error).__name__}).")
        return None
    return command


def version(command: Path) -> str:
    code = "import importlib.metadata as m; print(m.version('litellm'))"
    done = subprocess.run(
        [command.with_name("python"), "-c", code], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def litellm(folder: Path, stub_port: int, command: Path) -> Spawn:
    """Return the proxy with one worker and one model, an OpenAI-compatible one at the stub."""
    port = free_port()
    config = folder / f"litellm-{port}.yaml"
    config.write_text(
        f"""
model_list:
  - model_name: {MODEL}
    litellm_params:
      model: openai/gpt-image-1
      api_base: http://127.0.0.1:{stub_port}/v1
      api_key: sk-bench
"""
    )
    words = (str(command), "--config", str(config), "--host", "127.0.0.1", "--port", str(port))
    quiet = (
        ("LITELLM_LOCAL_MODEL_COST_MAP", "True"),
        ("LITELLM_TELEMETRY", "False"),
        ("LITELLM_MODE", "PRODUCTION"),
        ("LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY", "true"),  # on loopback
    )
    return Spawn(words, port, folder, quiet, ready="/health/liveliness")
