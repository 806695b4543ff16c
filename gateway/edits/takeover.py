"""Which key of today's config takes over a task that an earlier config submitted (P17)."""

from collections import Counter
from collections.abc import Collection, Iterable
from urllib.parse import urlsplit

from gateway.domain.models import ModelTable
from gateway.domain.record import EditRecord, EditState, TaskRecord
from gateway.domain.tenant import Upstream

PUT_BACK = "put the upstream that made them, or the tenant that asked, back within 24 hours"
_ALIBABAS = ".aliyuncs.com"


class OrphanedEditsError(Exception):
    """Open edits could not be followed; one line: what is wrong and what to do."""


class Takeover:
    """
    Finds the upstream that sees a task.

    A task is seen by every key of its account, at every address of its region. The same key
    is the same account, also under other names of upstream and account; a key that was
    rotated is known by the name of its account.

    Args:
        upstreams: All that are configured.
        models: Which models make tasks.
        retired: Of earlier configs of this process; used where no other one sees a task.
    """

    def __init__(
        self, upstreams: Iterable[Upstream], models: ModelTable, retired: Iterable[Upstream] = ()
    ) -> None:
        self._upstreams = tuple(upstreams)
        self._retired = tuple(retired)
        self._models = models

    def of(self, record: EditRecord, task: TaskRecord) -> Upstream | None:
        """Return the upstream that takes *task* over; ``None``: no key of its account is left."""
        in_force = self._among(self._upstreams, record, task)
        return in_force or self._among(self._retired, record, task)

    def _among(
        self, upstreams: tuple[Upstream, ...], record: EditRecord, task: TaskRecord
    ) -> Upstream | None:
        if not self._models.model(record.model).has_tasks:
            # The result URLs of a model without tasks need no key.
            return _best(task, [up for up in upstreams if up.region.name == record.region])
        by_key = [up for up in upstreams if _same_key(task, up)]
        by_account = [
            up
            for up in upstreams
            if (up.region.name, up.account.name) == (record.region, task.account)
            and _same_place(task, up)
        ]
        return _best(task, by_key) or _best(task, by_account)

    def orphans(self, records: Iterable[EditRecord]) -> list[tuple[EditRecord, TaskRecord]]:
        """Return the edits with a task that no upstream can take over, each with the first one."""
        found = []
        for record in records:
            lost = [task for task in record.tasks if self.of(record, task) is None]
            found.extend([(record, lost[0])] if lost else [])
        return found

    def refuse_orphans(self, records: Iterable[EditRecord], tenants: Collection[str]) -> None:
        """
        Make sure that every open edit of *records* is submitted and followed to its end.

        Args:
            records: What the ledger holds.
            tenants: The names of all that are configured.

        Raises:
            OrphanedEditsError: it says how many are not, whose, and what to do.
        """
        open_ = [record for record in records if record.state is EditState.OPEN]
        orphans = self.orphans(open_)
        if orphans:
            raise OrphanedEditsError(self._refusal(orphans))
        # One without a task may still have to be submitted, with its tenant's key.
        left = Counter(
            it.tenant for it in open_ if it.promised and not it.tasks and it.tenant not in tenants
        )
        if left:
            tenant, number = left.most_common(1)[0]
            edits = "1 accepted edit" if number == 1 else f"{number} accepted edits"
            others = f" (and of {len(left) - 1} more)" if len(left) > 1 else ""
            raise OrphanedEditsError(
                f"tenants: {edits} of {tenant}{others} could not be submitted: put the "
                "tenant back until they have ended, or end them by serve --abandon"
            )

    def out_of_reach(self, records: Iterable[EditRecord], tenants: Collection[str]) -> int:
        """
        Return the number of edits whose pictures cannot be fetched.

        No configured key sees the task that made them, or their tenant is gone.
        """
        kept = []
        left = 0
        for record in records:
            if record.tenant not in tenants:
                left += 1
            elif record.state is EditState.SUCCEEDED:
                kept.append(record)
        return left + len(self.orphans(kept))

    def _refusal(self, orphans: list[tuple[EditRecord, TaskRecord]]) -> str:
        number = len(orphans)
        places = Counter((record.region, task.account) for record, task in orphans)
        (region, account), _ = places.most_common(1)[0]
        others = f" (and of {len(places) - 1} more)" if len(places) > 1 else ""
        edits = "1 open edit" if number == 1 else f"{number} open edits"
        moved = self._moved(orphans, region, account)
        if moved is not None:
            return (
                f"regions.{region}.base_url: {edits} of the account {account}{others} could "
                f"not be followed: it was {moved} at the submit; put it back until they have "
                f'ended, or set previous = ["{moved}"] if both are the same region, or end them '
                "as lost by serve --abandon"
            )
        return (
            f"upstreams: {edits} of the account {account} in {region}{others} could not be "
            "followed: no upstream has a key of it; put its upstream back until they have "
            f'ended, or set account = "{account}" where an upstream of {region} has a key of '
            "it, or end them as lost by serve --abandon"
        )

    def _moved(
        self, orphans: list[tuple[EditRecord, TaskRecord]], region: str, account: str
    ) -> str | None:
        """Return the base URL that is gone, if that is all that is."""
        for record, task in orphans:
            if (record.region, task.account) != (region, account):
                continue
            for up in self._upstreams:
                same_name = (up.region.name, up.account.name) == (region, account)
                if task.base_url and (same_name or up.key_id == task.key_id):
                    return task.base_url
        return None


def _best(task: TaskRecord, able: list[Upstream]) -> Upstream | None:
    """Return the upstream of the same name if it is *able*, else the first."""
    return next((up for up in able if up.name == task.upstream), next(iter(able), None))


def _same_key(task: TaskRecord, upstream: Upstream) -> bool:
    if task.key_id is None or task.key_id != upstream.key_id:
        return False
    # A key of Alibaba's is valid in one region only, which has several addresses.
    both = (task.base_url or "", upstream.region.base_url)
    return _same_place(task, upstream) or all(map(_is_alibabas, both))


def _same_place(task: TaskRecord, upstream: Upstream) -> bool:
    region = upstream.region
    return task.base_url in (None, region.base_url, *region.previous)


def _is_alibabas(base_url: str) -> bool:
    return f".{urlsplit(base_url).hostname}".endswith(_ALIBABAS)
