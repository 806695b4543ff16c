"""A good config as TOML, tables to write lines into, and how a file of it is loaded."""

from pathlib import Path

from gateway.config import Config, load_config

HASH = "sha256:" + "ab" * 32
OTHER = "sha256:" + "cd" * 32
_PASTED = {"QUOTED": "'sk-canary'", "LINE": "export DASHSCOPE_API_KEY=sk-canary"}
ENVIRON = {
    "K": "sk-canary-one",
    "L": "sk-canary-two",
    "BLANK": " ",
    "TWO": "a b",
    "HAN": "钥",
    **_PASTED,
}
UP = '[upstreams.main]\nregion = "beijing"\nkey = "env:K"\n'
ACME = f'[tenants.acme]\nregion = "beijing"\nkeys = ["{HASH}"]\n'
GOOD = UP + ACME


def load(tmp_path: Path, text: str) -> Config:
    file = tmp_path / "g.toml"
    file.write_text(text, "utf-8")
    return load_config(file, ENVIRON)


def up(lines: str, name: str = "main") -> str:
    return f'[upstreams.{name}]\nregion = "beijing"\nkey = "env:K"\n{lines}\n'


def acme(lines: str) -> str:
    return f'{UP}[tenants.acme]\nregion = "beijing"\n{lines}\n'
