"""Who asked for what: finds the edit that a request repeats, by key or by content."""

from collections.abc import Callable, Iterator

from gateway.domain.errors import KeyReused, NotFound
from gateway.domain.record import EditRecord, EditState
from gateway.domain.tenant import EqualEdits, Tenant
from gateway.journey.ask import Ask
from gateway.journey.digest import comparable, prompt_digest
from gateway.journey.errand import Errand, Stage
from gateway.journey.ports import Ledger, Observer

_DELIVERED_SECONDS = 600.0  # so long a marked retry says that its answer did not arrive (P2)


class Register:
    """The edits that are unfinished or undelivered; the ledger knows the others for 24 h."""

    def __init__(
        self,
        ledger: Ledger,
        remember: Callable[[EditRecord], Errand],
        observer: Observer,
    ) -> None:
        self._ledger = ledger
        self._remember = remember
        self._observer = observer
        self._by_id: dict[str, Errand] = {}
        self._by_digest: dict[tuple[str, str], list[Errand]] = {}
        self._by_key: dict[tuple[str, str], Errand] = {}

    def __iter__(self) -> Iterator[Errand]:
        return iter(list(self._by_id.values()))

    def __len__(self) -> int:
        return len(self._by_id)

    def __contains__(self, edit_id: str) -> bool:
        return edit_id in self._by_id

    def get(self, edit_id: str) -> Errand | None:
        return self._by_id.get(edit_id)

    def unclaimed(self) -> list[Errand]:
        """Return the edits whose pictures nobody has got yet, nor waits for."""
        return [e for e in self if e.stage is Stage.SUCCEEDED and not e.visitors]

    def oldest_waits(self, now: float) -> dict[str, float]:
        """Return by region the seconds that its oldest edit in line has waited, at epoch *now*."""
        oldest: dict[str, float] = {}
        for errand in self:
            if errand.stage is Stage.WAITING:
                region = errand.tenant.region
                oldest[region] = max(oldest.get(region, 0.0), now - errand.created)
        return oldest

    def add(self, errand: Errand) -> None:
        tenant = errand.tenant.name
        self._by_id[errand.edit_id] = errand
        if errand.idempotency_key is None:
            self._by_digest.setdefault((tenant, errand.digest), []).append(errand)
        else:
            self._by_key[tenant, errand.idempotency_key] = errand

    def remove(self, errand: Errand) -> None:
        """Forget an edit that was delivered or has failed: nothing joins it any more."""
        tenant = errand.tenant.name
        if self._by_id.pop(errand.edit_id, None) is None:
            return
        if errand.idempotency_key is not None:
            if self._by_key.get((tenant, errand.idempotency_key)) is errand:
                del self._by_key[tenant, errand.idempotency_key]
            return
        equal = self._by_digest[tenant, errand.digest]
        equal.remove(errand)
        if not equal:
            del self._by_digest[tenant, errand.digest]

    async def match(self, ask: Ask) -> Errand | None:
        """
        Return the edit that *ask* joins or replays, or ``None``: it is a new one.

        Raises:
            KeyReused: the ``Idempotency-Key`` was used for other content.
        """
        if ask.idempotency_key is not None:
            return await self._match_key(ask, ask.idempotency_key)
        found = self._match_content(ask)
        if found is not None or not ask.retry_count:
            return found
        digests = (ask.digest, *ask.earlier_digests)
        record = await self._ledger.find_delivered(ask.tenant.name, digests, _DELIVERED_SECONDS)
        found = self._match_content(ask)  # somebody may have come while we asked
        if found is not None or record is None:
            return found
        return self._remember(record)

    async def find(self, tenant: Tenant, edit_id: str) -> Errand:
        """
        Return the tenant's own edit.

        Raises:
            NotFound: there is none; another tenant's is none.
        """
        errand = self._by_id.get(edit_id)
        if errand is None:
            record = await self._ledger.find(edit_id)
            errand = self._by_id.get(edit_id)  # somebody may have come while we asked
            own = record is not None and record.tenant == tenant.name
            if errand is None and record is not None and own and not _void(record):
                return self._remember(record)
        if errand is not None and errand.tenant.name == tenant.name:
            return errand
        raise NotFound("There is no such edit; edits are kept for 24 hours.", param="edit_id")

    async def _match_key(self, ask: Ask, key: str) -> Errand | None:
        place = (ask.tenant.name, key)
        errand = self._by_key.get(place)
        if errand is None:
            record = await self._ledger.find_key(*place)
            errand = self._by_key.get(place)  # somebody may have come while we asked
            if errand is None and record is not None and not _void(record):
                errand = self._remember(record)
        if errand is None or errand.given_up:
            return None
        if not _same_content(errand, ask):
            self._observer.idempotency("conflict")
            raise KeyReused(
                "This Idempotency-Key was used for another edit. Use a new key for new content."
            )
        return errand

    def _match_content(self, ask: Ask) -> Errand | None:
        """
        Apply the rule of P2 to the edits that are not delivered.

        A retry by an SDK says so; one by a person, curl or the AI SDK does not, but then
        nobody is connected to the edit any more, or its tenant's equal edits are one. Of
        several, the one that was left comes first, a doubtful end only where no picture is to
        be had, then the one whose last customer was the try before this, then the oldest.
        """
        equal = [
            errand
            for digest in (ask.digest, *ask.earlier_digests)
            for errand in self._by_digest.get((ask.tenant.name, digest), ())
        ]
        one = ask.retry_count > 0 or ask.tenant.equal_edits is EqualEdits.JOIN
        open_ = [e for e in equal if e.joinable and (one or not e.visitors)]

        def order(errand: Errand) -> tuple[bool, bool, bool, float]:
            other_try = errand.retry_count != ask.retry_count - 1
            return bool(errand.visitors), errand.doubtful, other_try, errand.created

        return min(open_, key=order, default=None)


def _same_content(errand: Errand, ask: Ask) -> bool:
    """
    Say whether a key is used for the content that it was used for before.

    What another version of the gateway wrote cannot be compared picture by picture: there
    the key and the prompt decide, so that an upgrade refuses no honest retry.
    """
    if errand.digest == ask.digest or errand.digest in ask.earlier_digests:
        return True
    if comparable(errand.digest, ask.digest):
        return False
    return errand.prompt_digest == prompt_digest(ask.edit.prompt)


def _void(record: EditRecord) -> bool:
    """Say whether its intents were voided and its process died before the next: it never was."""
    return record.state is EditState.OPEN and not record.tasks and not record.promised
