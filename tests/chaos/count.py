"""
Counting: the clients' notes against the books of the regions.

An edit is one wish. Wishes of equal content (prompt and picture) are counted together, since
nobody can tell whose task is whose. A task is paid when the books bill it.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.notes import Note
from tests.chaos.wishes import REGION_BY_TENANT, picture_sha256, prompt_sha256

_Content = tuple[str, str, str]
"""Region, digest of the prompt, digest of the picture, which a generation lacks."""

#: Codes of docs/reference/errors.md that these faults may bring, and whether the SDK may retry.
EXPECTED = {
    ("200", ""),
    ("still_running", "true"),
    ("submit_uncertain", "true"),
    ("result_unavailable", "true"),
    ("upstream_failed", "true"),
    ("upstream_unreachable", "true"),
    ("upstream_task_lost", "true"),
    ("rate_limit_exceeded", "true"),
    ("server_is_draining", "true"),
    ("request_timeout", "true"),
    ("server_is_overloaded", "true"),
    # A middlebox refused, and the task list said that it had passed nothing on.
    ("upstream_failed", "false"),
    ("request_too_large", "false"),
    ("upstream_unavailable", "false"),
}
#: Seconds after hanging up in which a submit may still be booked: the grace, and a busy machine.
_GRACE = 3.0 + 1.5


@dataclass(slots=True)
class Verdict:
    edits: int = 0
    tasks: int = 0
    unbilled: int = 0
    """FAILED, or CANCELED while it was PENDING."""
    billed: int = 0
    served: int = 0
    gone: int = 0
    """Clients that left for good."""
    unpaid: int = 0
    """Of these, those whose edit was dropped at no cost."""
    kept: int = 0
    """Paid tasks whose client left for good, and which could be had afterwards."""
    doubted: int = 0
    """Told for good that nobody knows what was made: see `Note.doubts`."""
    doubted_paid: int = 0
    """Of these, those whose edit was paid for."""
    shared: int = 0
    """Wishes of equal content that got the picture of another one's task: paid once less."""
    unserved: int = 0
    """Clients that asked until the end and got nothing."""
    twice: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    for_nobody: list[str] = field(default_factory=list)
    """Submitted in a drain though the client had left the queue."""
    unexpected: list[str] = field(default_factory=list)
    codes: Counter[str] = field(default_factory=Counter)
    """Of every answer on the wire."""
    ends: Counter[str] = field(default_factory=Counter)
    """What SDKs raised, who left, what broke: after the SDK's own retries."""

    @property
    def difference(self) -> int:
        """Edits asked for, less those dropped unpaid, less those that shared, less tasks paid."""
        return self.edits - self.unpaid - self.shared - self.unserved - self.billed

    @property
    def clean(self) -> bool:
        bad = self.twice or self.wrong or self.lost or self.for_nobody or self.unexpected
        return not (bad or self.unserved or self.difference)


def count(
    notes: Collection[Note],
    books: Mapping[str, Mapping[str, Any]],
    obtainable: Callable[[str, str], bool],
    strangers: str = "",
) -> Verdict:
    """
    Hold the notes against the books.

    Args:
        notes: Of every client.
        books: Of every region, by its name.
        obtainable: Of a tenant and a task: whether its picture can be had, and is that task's.
        strangers: The digest of the picture of a program that is none of the clients.
    """
    verdict = Verdict(edits=len(notes))
    tasks = [
        {**task, "region": region}
        for region in books
        for task in books[region]["tasks"]
        if strangers not in task["inputs_sha256"]
    ]
    verdict.tasks = len(tasks)
    verdict.billed = sum(1 for task in tasks if task["images_billed"])
    verdict.unbilled = verdict.tasks - verdict.billed
    by_content: dict[_Content, list[Note]] = defaultdict(list)
    for note in notes:
        by_content[_wanted(note)].append(note)
        _count_note(verdict, note)
    paid: dict[_Content, list[str]] = defaultdict(list)
    for task in tasks:
        _count_leaver(verdict, by_content.get(_ordered(task), []), task)
        if task["images_billed"]:
            paid[_ordered(task)].append(task["task_id"])
    for content in {*by_content, *paid}:
        _count_content(verdict, by_content[content], paid[content], obtainable)
    return verdict


def _wanted(note: Note) -> _Content:
    wish = note.wish
    region = REGION_BY_TENANT[wish.tenant]
    return region, prompt_sha256(wish), picture_sha256(wish)


def _ordered(task: Mapping[str, Any]) -> _Content:
    return task["region"], task["prompt_sha256"], "".join(task["inputs_sha256"])


def _count_note(verdict: Verdict, note: Note) -> None:
    verdict.served += note.served is not None
    verdict.gone += note.gone
    verdict.doubted += note.doubted
    if note.served is None and not note.gone and not note.doubted:
        verdict.unserved += 1
    if note.wrong is not None:
        verdict.wrong.append(f"{note.wish.name}: {note.wrong} (task {note.served})")
    for end in note.ends:
        if end["what"] != "answer":
            verdict.ends[f"{end['what']}: {end['code']}"] += 1
            continue
        verdict.codes[end["code"]] += 1
        expected = EXPECTED | note.doubts
        if (end["code"], end["retry"]) not in expected:
            reported = f"{end['code']}, x-should-retry {end['retry']!r}"
            verdict.unexpected.append(f"{note.wish.name}: {reported}")


def _count_leaver(verdict: Verdict, notes: list[Note], task: Mapping[str, Any]) -> None:
    for note in notes:
        left = [end["at"] for end in note.ends if end["code"] == "draining"]
        if left and task["submit_time"] > left[0] + _GRACE:
            late = task["submit_time"] - left[0]
            verdict.for_nobody.append(f"{note.wish.name}: {task['task_id']}, {late:.1f} s later")


def _count_content(
    verdict: Verdict,
    notes: list[Note],
    paid: list[str],
    obtainable: Callable[[str, str], bool],
) -> None:
    name = notes[0].wish.name if notes else "nobody's"
    if len(paid) > len(notes):
        verdict.twice.append(f"{name}: asked {len(notes)}, paid {len(paid)}: {', '.join(paid)}")
    came = [note.served for note in notes if note.served is not None]
    verdict.shared += len(came) - len(set(came))
    verdict.wrong += [f"{name}: task {task} is not billed" for task in set(came) - set(paid)]
    left = [task for task in paid if task not in came]
    if not any(note.served is None for note in notes):
        return  # what is left was paid twice, and is counted there
    if not paid:
        verdict.unpaid += sum(note.gone or note.doubted for note in notes)
    for task in left:
        if any(note.doubted for note in notes):
            verdict.doubted_paid += 1
        elif obtainable(notes[0].wish.tenant, task):
            verdict.kept += 1
        else:
            verdict.lost.append(f"{name}: task {task}")


def table(rows: Iterable[tuple[str, object]]) -> str:
    return "\n".join(f"  {name:<46} {value}" for name, value in rows)


def shown(verdict: Verdict) -> str:
    """Return the verdict as text."""
    rows: list[tuple[str, object]] = [
        ("edits asked for", verdict.edits),
        ("  served with their picture", verdict.served),
        ("  left for good by their customer", verdict.gone),
        ("    dropped before they cost anything", verdict.unpaid),
        ("    paid, and to be had afterwards", verdict.kept),
        ("  told for good that nobody knows", verdict.doubted),
        ("    of which were paid", verdict.doubted_paid),
        ("  never served though asked for to the end", verdict.unserved),
        ("tasks made", verdict.tasks),
        ("  failed or cancelled, unbilled", verdict.unbilled),
        ("  paid", verdict.billed),
        ("equal edits that shared one task", verdict.shared),
        ("asked - dropped - shared - paid", verdict.difference),
        ("PAID TWICE", len(verdict.twice)),
        ("WRONG PICTURES", len(verdict.wrong)),
        ("LOST", len(verdict.lost)),
        ("SUBMITTED FOR NOBODY", len(verdict.for_nobody)),
        ("ANSWERS THAT SHOULD NOT BE", len(verdict.unexpected)),
    ]
    lists = (verdict.twice, verdict.wrong, verdict.lost, verdict.for_nobody, verdict.unexpected)
    details = [f"  ! {text}" for rows_ in lists for text in rows_[:20]]
    codes = [(f"answer {code}", times) for code, times in verdict.codes.most_common()]
    ends = [(end, times) for end, times in verdict.ends.most_common()]
    return "\n".join([table(rows), *details, "", table(codes), "", table(ends)])
