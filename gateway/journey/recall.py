"""An edit as the ledger remembers it → an edit of this process, if the config still knows it."""

from collections.abc import Mapping

from gateway.domain.errors import NotFound, remembered
from gateway.domain.record import EditRecord, EditState, TaskRecord
from gateway.domain.tenant import Tenant, Upstream
from gateway.journey.errand import Errand, Stage


class Recall:
    """Rebuilds edits, to be looked at, answered again or carried on."""

    def __init__(self, tenants: Mapping[str, Tenant]) -> None:
        self._tenants = tenants
        self._upstreams = {u.name: u for t in tenants.values() for u in t.upstreams}

    def __call__(self, record: EditRecord) -> Errand:
        """
        Return the edit of *record*.

        Raises:
            NotFound: its tenant or an upstream of its tasks is no longer configured.
        """
        tenant = self._tenants.get(record.tenant)
        if tenant is None or not all(self._still_ours(task) for task in record.tasks):
            raise NotFound("This edit's tenant or upstream is no longer configured.")
        errand = Errand.remembered(record, tenant, self._upstreams)
        errand.replay = True
        if record.state is EditState.FAILED:
            kind, code, message = record.error_kind, record.error_code, record.error_message
            errand.end(Stage.FAILED, remembered(kind, code, message, retry=record.error_retry))
        elif record.state is EditState.SUCCEEDED:
            errand.end(Stage.SUCCEEDED)
        return errand

    def _still_ours(self, task: TaskRecord) -> bool:
        """Whether the task's upstream still means the account that made it."""
        upstream: Upstream | None = self._upstreams.get(task.upstream)
        return upstream is not None and upstream.account.name == task.account
