"""A Dockerfile as a list of instructions, and as plain commands in a folder."""

import fnmatch
import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Step:
    """One instruction: ``RUN``, and what stands behind it."""

    word: str
    rest: str


def steps_of(text: str) -> list[Step]:
    """Return the instructions; lines that go on are joined, comments left out."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    whole = re.sub(r"\\\n\s*", "", "\n".join(lines))
    pairs = (line.split(None, 1) for line in whole.splitlines() if line.strip())
    return [Step(word, rest) for word, rest in pairs]


def stages_of(steps: list[Step]) -> list[list[Step]]:
    """Return the steps of each ``FROM``."""
    stages: list[list[Step]] = []
    for step in steps:
        if step.word == "FROM":
            stages.append([])
        stages[-1].append(step)
    return stages


def words_of(rest: str) -> list[str]:
    """Return the words of the JSON form of CMD, ENTRYPOINT and HEALTHCHECK."""
    words: list[str] = json.loads(rest[rest.index("[") :])
    return words


@dataclass(frozen=True, slots=True)
class Folder:
    """Where an image would be: its root is *root*, what it copies from is *context*."""

    root: Path
    context: Path
    moved: tuple[str, ...] = ("/opt/", "/etc/wan-gateway", "/var/lib/wan-gateway", "/src")

    def here(self, text: str) -> str:
        """Put the image's absolute paths below *root*."""
        at = "|".join(map(re.escape, self.moved))
        return re.sub(rf"(?<![\w.])({at})", rf"{self.root}\1", text)

    def copy(self, step: Step, workdir: str) -> None:
        """Do a COPY out of the context, but for what .dockerignore keeps back."""
        *sources, target = step.rest.split()
        place = Path(self.here(str(Path(workdir) / target)))
        for source in sources:
            assert is_sent(self.context, source), f"{source} is kept back by .dockerignore"
            if (self.context / source).is_dir():
                shutil.copytree(
                    self.context / source,
                    place,
                    ignore=shutil.ignore_patterns("__pycache__"),
                    dirs_exist_ok=True,
                )
            else:
                into = place / source if target.endswith("/") else place
                into.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(self.context / source, into)

    def copy_between_stages(self, step: Step) -> None:
        """Do a COPY out of an earlier stage; all stages share *root* here."""
        source, target = (Path(self.here(path)) for path in step.rest.split()[1:])
        if source != target:
            shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)

    def run(self, step: Step, workdir: str, env: Mapping[str, str]) -> None:
        """Do a RUN."""
        done = subprocess.run(
            ["/bin/sh", "-ec", self.here(step.rest)],
            cwd=self.here(workdir),
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def is_sent(context: Path, source: str) -> bool:
    """Say whether .dockerignore lets *source* go to the builder; the last line that fits wins."""
    sent = True
    for line in (context / ".dockerignore").read_text("utf-8").splitlines():
        pattern = line.removeprefix("!")
        if line and not line.startswith("#") and fnmatch.fnmatch(source, pattern):
            sent = line.startswith("!")
    return sent
