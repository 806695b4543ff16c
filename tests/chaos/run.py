"""
The chaos run: is every edit paid once, and does its client get its own picture, come what may?

    python -m tests.chaos.run --seconds 600 --kills 60 --seed 1

Exit code 0 if nothing was paid twice, lost, mixed up or answered as it should not be.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

from tests.chaos.claims import Claims, gateways_own, left_when, replays
from tests.chaos.count import Verdict, count, shown, table
from tests.chaos.notes import Note, clock, read_notes
from tests.chaos.others import PROMPT_IN_A_DRAIN, Leavers, Stranger, strangers_picture
from tests.chaos.programs import ChaosGateway, pause, regions, start_customers, write_line
from tests.chaos.region_faults import RegionAdmin, asleep
from tests.chaos.wishes import ON_SHARED_ACCOUNT, REGION_BY_TENANT

_SETTLE_SECONDS = 240.0
_DAY = 86_400.0
_CLOCK_JUMPS = (0.0, 0.0, 25.0, -25.0, 300.0, -300.0, 4000.0, -4000.0, 2 * _DAY, -3 * _DAY)
"""Seconds off."""
_SHORTEST_SLEEP = 6.0
_SOME = 12
_ON_THE_LINE = 0.4
"""Seconds that those stay who hang up during a drain."""
_MEETS_EDITS = {"drain", "sleep", "rename", "clock"}
_REPLAYS = 20


@dataclass(frozen=True, slots=True)
class Plan:
    seconds: float
    kills: int
    seed: int
    processes: int = 2
    clients: int = 24
    """In each process."""
    drains: int = field(default=-1)
    renames: int = field(default=-1)
    sleeps: int = field(default=-1)
    longest_sleep: float = 20.0
    without: frozenset[str] = frozenset()
    """Events that are left out; ``stranger`` is the second program on an account."""

    @property
    def often(self) -> dict[str, int]:
        """How often each of the rarer things happens."""
        few = self.kills // 6
        values = {"drain": self.drains, "rename": self.renames, "sleep": self.sleeps}
        often = {what: few if times < 0 else times for what, times in values.items()}
        return {
            what: times
            for what, times in {"kill": self.kills, **often}.items()
            if what not in self.without
        }

    def events(self) -> Iterator[tuple[float, str]]:
        """Give when (seconds from the start, but for drains and sleeps) what happens, in order."""
        dice = Random(self.seed)
        times = [
            (_around(dice, number, of, self.seconds), what)
            for what, of in self.often.items()
            for number in range(of)
        ]
        for what, least, most in (("faults", 2.0, 7.0), ("clock", 8.0, 30.0)):
            at = 1.0
            while at < self.seconds and what not in self.without:
                times.append((at, what))
                at += dice.uniform(least, most)
        return iter(sorted(times))


@dataclass(frozen=True, slots=True)
class ChaosResult:
    verdict: Verdict
    text: str


def run(plan: Plan, folder: Path) -> ChaosResult:
    """Let it storm, let it settle, count; *folder* keeps the ledger, the log and the notes."""
    with regions(plan.seed) as urls, closing(RegionAdmin(urls)) as region_admin:
        gateway = ChaosGateway(folder, urls)
        stranger = Stranger(urls[REGION_BY_TENANT[ON_SHARED_ACCOUNT]], plan.seed)
        if "stranger" not in plan.without:
            stranger.start()
        crowd = start_customers(
            folder,
            gateway.url,
            seed=plan.seed,
            processes=plan.processes,
            each=plan.clients,
        )
        began = clock()
        write_line(crowd, "")
        try:
            jumps = _storm(plan, folder, gateway, region_admin, began)
            stranger.close()
            end = clock()
            write_line(crowd, str(end + _SETTLE_SECONDS))
            for process in crowd:
                process.wait(timeout=_SETTLE_SECONDS + 90.0)
            settled = clock()
            return _counted(
                plan, folder, gateway, region_admin, jumps, (end - began, settled - end)
            )
        finally:
            stranger.close()
            for process in crowd:
                process.kill()
                process.communicate()  # closes its pipes
            gateway.stop()


def _storm(
    plan: Plan, folder: Path, gateway: ChaosGateway, region_admin: RegionAdmin, began: float
) -> int:
    """Play the plan, and write down in ``events.log`` what happened when."""
    dice = Random(f"{plan.seed}:storm")
    log = (folder / "events.log").open("w", buffering=1)
    jumps = 0
    stood_still = 0.0
    for at, what in plan.events():
        while (left := began + stood_still + at - clock()) > 0:
            pause(min(0.5, left))
            gateway.look_after()
        since = clock()
        if what in _MEETS_EDITS or dice.random() < 0.75:  # the others meet it as it starts
            gateway.until_ready()
        log.write(f"{clock():.3f} {what}\n")
        match what:
            case "kill":
                gateway.kill()
            case "drain":
                _drain(plan, folder, gateway, region_admin)
            case "rename":
                gateway.rename()
            case "sleep":
                region_admin.put(asleep())
                pause(1.0)
                gateway.sleep(dice.uniform(_SHORTEST_SLEEP, plan.longest_sleep))
            case "faults":
                region_admin.change(dice)
            case "clock":
                gateway.set_clock(dice.choice(_CLOCK_JUMPS))
                jumps += 1
        stood_still += clock() - since  # so that no later event follows on its heels
    pause(max(0.0, began + stood_still + plan.seconds - clock()))
    region_admin.clear()
    gateway.set_clock(0.0)
    log.close()
    return jumps


def _drain(plan: Plan, folder: Path, gateway: ChaosGateway, region_admin: RegionAdmin) -> None:
    """Drain while many hang up that are in the queue."""
    region_admin.clear()  # what is late or tried again would be no finding
    leavers = Leavers(gateway.url, f"{plan.seed}-{gateway.drains}", folder)
    total = region_admin.tasks(PROMPT_IN_A_DRAIN)
    leavers.edit_request()
    for _ in range(100):  # the others are in the queue once some have their tasks
        if region_admin.tasks(PROMPT_IN_A_DRAIN) >= total + _SOME:
            break
        pause(0.2)
    with gateway.draining():
        pause(_ON_THE_LINE)
        leavers.leave()


def _counted(
    plan: Plan,
    folder: Path,
    gateway: ChaosGateway,
    region_admin: RegionAdmin,
    jumps: int,
    lasted: tuple[float, float],
) -> ChaosResult:
    notes: list[Note] = [
        note for file in sorted(folder.glob("notes-*.jsonl")) for note in read_notes(file)
    ]
    while not region_admin.quiet():  # the tasks of those who left for good run to their end
        pause(0.5)
    pause(2.0)  # and are noticed
    with closing(Claims(gateway.url, gateway.ledger)) as claims:
        strangers = sha256(strangers_picture()).hexdigest()
        verdict = count(notes, region_admin.books(), claims.obtainable, strangers)
        others = sum(
            strangers in task["inputs_sha256"]
            for book in region_admin.books().values()
            for task in book["tasks"]
        )
    tried, failed = replays(notes, gateway.url, _REPLAYS)
    verdict.wrong += [f"replayed by its key: {text}" for text in failed]
    books = region_admin.books()  # again: neither a claim nor a replay may have made a task
    total = sum(book["tasks_made"] for book in books.values())
    verdict.twice += ["a replay or a claim made a task: "] * (total - verdict.tasks - others)
    if gateway.fell_over:
        verdict.unexpected.append(f"the gateway ended by itself {gateway.fell_over} times")
    head: list[tuple[str, Any]] = [
        ("seed", plan.seed),
        ("seconds of storm, then of settling", f"{lasted[0]:.0f}, {lasted[1]:.0f}"),
        ("customers at once", plan.processes * plan.clients),
        ("SIGKILLs", gateway.kills),
        ("  tasks open in the ledger at these", dict(gateway.met_by_kills)),
        ("SIGTERMs", gateway.drains),
        ("starts with other names and keys of the accounts", gateway.renames),
        ("times asleep, and seconds in all", f"{len(gateway.slept)}, {sum(gateway.slept):.0f}"),
        ("tasks of the second program on an account", others),
        ("jumps of the calendar clock", jumps),
        ("customers that hung up", left_when(folder / "gateway.log")),
        ("edits replayed by their Idempotency-Key", tried),
    ]
    calls = [(name, times) for name, times in gateways_own(books).items()]
    text = "\n".join([table(head), shown(verdict), "", table(calls)])
    if verdict.twice:
        text += "\n\n" + claims.report(notes, verdict.twice)
    return ChaosResult(verdict, text)


def _around(dice: Random, number: int, of: int, seconds: float) -> float:
    """Spread *of* events over the storm, each somewhere in its own share of it."""
    return (number + dice.uniform(0.15, 0.95)) * seconds / of


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--clients", type=int, default=24, help="in each of two processes")
    parser.add_argument("--keep", type=Path, help="keep ledger, log and notes in this directory")
    parser.add_argument("--without", nargs="*", default=(), metavar="EVENT", help="leave these out")
    args = parser.parse_args(argv)
    plan = Plan(
        args.seconds,
        args.kills,
        args.seed,
        clients=args.clients,
        without=frozenset(args.without),
    )
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        place = args.keep or Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        outcome = run(plan, place.resolve())
    print(outcome.text)  # noqa: T201 - a command prints
    return 0 if outcome.verdict.clean else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
