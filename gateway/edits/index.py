"""Finds the edit that a request repeats, by its Idempotency-Key or by its content."""

from collections.abc import Callable, Iterator
from contextlib import suppress

from gateway.domain.errors import KeyReused, LedgerUnavailable, NotFound
from gateway.domain.record import EditRecord, EditState
from gateway.domain.tenant import EqualEdits, Tenant
from gateway.edits.active_edit import ActiveEdit
from gateway.edits.digest import comparable, prompt_digest
from gateway.edits.lifecycle import Stage
from gateway.edits.ports import Ledger, Observer
from gateway.edits.request import EditRequest

_DELIVERED_SECONDS = 600.0  # so long a marked retry says that its answer did not arrive (P2)


class EditIndex:
    """The edits that are unfinished or undelivered; the ledger knows the others for 24 h."""

    def __init__(
        self,
        ledger: Ledger,
        remember: Callable[[EditRecord], ActiveEdit],
        observer: Observer,
        owes: Callable[[str], bool] = lambda _: False,
    ) -> None:
        """
        Make an empty index.

        Args:
            ledger: Knows the edits of the last 24 hours.
            remember: Makes an edit of this process from its record.
            observer: Counts.
            owes: Whether the ledger does not say yet what became of an edit (by its id).
        """
        self._ledger = ledger
        self._restore = remember
        self._observer = observer
        self._owes = owes
        self._by_id: dict[str, ActiveEdit] = {}
        self._by_digest: dict[tuple[str, str], list[ActiveEdit]] = {}
        self._by_key: dict[tuple[str, str], ActiveEdit] = {}

    def __iter__(self) -> Iterator[ActiveEdit]:
        return iter(list(self._by_id.values()))

    def __len__(self) -> int:
        return len(self._by_id)

    def __contains__(self, edit_id: str) -> bool:
        return edit_id in self._by_id

    def get(self, edit_id: str) -> ActiveEdit | None:
        return self._by_id.get(edit_id)

    def unclaimed(self) -> list[ActiveEdit]:
        """Return the edits whose pictures no client has got yet or waits for."""
        return [e for e in self if e.life.stage is Stage.SUCCEEDED and not e.life.connected]

    def oldest_waits(self, now: float) -> dict[str, float]:
        """Return by region the seconds that its oldest queued edit has waited, at epoch *now*."""
        oldest: dict[str, float] = {}
        for active in self:
            if active.life.stage is Stage.WAITING:
                region = active.tenant.region
                oldest[region] = max(oldest.get(region, 0.0), now - active.created)
        return oldest

    def add(self, active: ActiveEdit) -> None:
        tenant = active.tenant.name
        self._by_id[active.edit_id] = active
        if active.idempotency_key is None:
            self._by_digest.setdefault((tenant, active.digest), []).append(active)
        else:
            self._by_key[tenant, active.idempotency_key] = active

    def remove(self, active: ActiveEdit) -> None:
        """Forget an edit that was delivered or has failed: nothing joins it any more."""
        tenant = active.tenant.name
        if self._by_id.pop(active.edit_id, None) is None:
            return
        if active.idempotency_key is not None:
            if self._by_key.get((tenant, active.idempotency_key)) is active:
                del self._by_key[tenant, active.idempotency_key]
            return
        equal = self._by_digest[tenant, active.digest]
        equal.remove(active)
        if not equal:
            del self._by_digest[tenant, active.digest]

    async def match(self, request: EditRequest) -> ActiveEdit | None:
        """
        Return the edit that *request* joins or replays, or ``None``: it is a new one.

        Raises:
            KeyReused: the ``Idempotency-Key`` was used for other content.
        """
        if request.repeats:
            with suppress(NotFound):
                return await self.find(request.tenant, request.edit_id)
        if request.idempotency_key is not None:
            return await self._match_key(request, request.idempotency_key)
        found = self._match_content(request)
        if found is not None or not request.retry_count:
            return found
        digests = (request.digest, *request.earlier_digests)
        record = await self._ledger.find_delivered(request.tenant.name, digests, _DELIVERED_SECONDS)
        found = self._match_content(request)  # somebody may have come while we asked
        if found is not None or record is None:
            return found
        return self._remember(record)

    async def find(self, tenant: Tenant, edit_id: str) -> ActiveEdit:
        """
        Return the tenant's own edit.

        Raises:
            NotFound: there is none; another tenant's is none.
        """
        active = self._by_id.get(edit_id)
        if active is None:
            record = await self._ledger.find(edit_id)
            active = self._by_id.get(edit_id)  # somebody may have come while we asked
            own = record is not None and record.tenant == tenant.name
            if active is None and record is not None and own and not _void(record):
                return self._remember(record)
        if active is not None and active.tenant.name == tenant.name:
            return active
        raise NotFound("There is no such edit; edits are kept for 24 hours.", param="edit_id")

    def _remember(self, record: EditRecord) -> ActiveEdit:
        """
        Return the edit of *record*, which this process does not have.

        Raises:
            LedgerUnavailable: it has ended here; to carry on what the ledger still has as open
                would be to submit it a second time.
        """
        if record.state is EditState.OPEN and self._owes(record.edit_id):
            raise LedgerUnavailable(
                "The gateway cannot keep its records at the moment. Send the request again.",
                retry_after=1.0,
            )
        return self._restore(record)

    async def _match_key(self, request: EditRequest, key: str) -> ActiveEdit | None:
        ticket = (request.tenant.name, key)
        active = self._by_key.get(ticket)
        if active is None:
            record = await self._ledger.find_key(*ticket)
            active = self._by_key.get(ticket)  # somebody may have come while we asked
            if active is None and record is not None and not _void(record):
                active = self._remember(record)
        if active is None or active.life.given_up or active.life.failed_unbilled:
            return None
        if not _same_content(active, request):
            self._observer.idempotency("conflict")
            raise KeyReused(
                "This Idempotency-Key was used for another edit. Use a new key for new content."
            )
        return active

    def _match_content(self, request: EditRequest) -> ActiveEdit | None:
        """
        Apply the rule of P2 to the edits that are not delivered (D9).

        A retry by an SDK says so; one by a person, curl or the AI SDK does not, but then
        no client is connected to the edit any more, or its tenant's equal edits are one. Of
        several, the one that was left comes first, a doubtful end only where no picture is to
        be had, then the one whose last client was the try before this, then the oldest.
        """
        equal = [
            active
            for digest in (request.digest, *request.earlier_digests)
            for active in self._by_digest.get((request.tenant.name, digest), ())
        ]
        one = request.retry_count > 0 or request.tenant.equal_edits is EqualEdits.JOIN
        open_ = [e for e in equal if e.life.joinable and (one or not e.life.connected)]

        def order(active: ActiveEdit) -> tuple[bool, bool, bool, float]:
            life = active.life
            other_try = life.retry_count != request.retry_count - 1
            return bool(life.connected), life.maybe_billed, other_try, active.created

        return min(open_, key=order, default=None)


def _same_content(active: ActiveEdit, request: EditRequest) -> bool:
    """
    Say whether a key is used for the content that it was used for before.

    What another version of the gateway wrote cannot be compared picture by picture: there
    the key and the prompt decide, so that an upgrade refuses no honest retry.
    """
    if active.digest == request.digest or active.digest in request.earlier_digests:
        return True
    if comparable(active.digest, request.digest):
        return False
    return active.prompt_digest == prompt_digest(request.edit.prompt)


def _void(record: EditRecord) -> bool:
    """Say whether its intents were voided and its process died before the next: it never was."""
    return record.state is EditState.OPEN and not record.tasks and not record.promised
