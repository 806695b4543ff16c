"""The state of one simulated region, and how it creates a task."""

from collections import Counter
from random import Random
from uuid import uuid4

from starlette.requests import Request

from gateway.sandbox.config import Latency, SandboxClock, SandboxConfig
from gateway.sandbox.faults import End, FaultInjector
from gateway.sandbox.limits import AccountRates, ApiKeys, Caller
from gateway.sandbox.object_storage import Signer, UploadStore, result_path
from gateway.sandbox.pictures import Pictures
from gateway.sandbox.tasks import SandboxTask, SubmitRequest, TaskStore


class SimulatedRegion:
    """
    Everything that the handlers of a region share.

    Latencies and faults have seeded random generators of their own. Ids are never seeded, so that a
    restarted region does not hand out the same ids again.

    Attributes:
        latency: Of tasks created from now on; the admin API changes it.
        epoch_offset: Epoch of the clock's 0; it never changes.
        counts: Calls, named ``operation.event``.
    """

    def __init__(self, config: SandboxConfig, clock: SandboxClock) -> None:
        self.config = config
        self.clock = clock
        self.epoch_offset = clock.epoch() - clock.now()
        self.latency: Latency = config.latency
        self.api_keys = ApiKeys(config.current_accounts)
        self.rates = AccountRates(config.limits)
        self.counts: Counter[str] = Counter()
        self.tasks = TaskStore(config.limits.running_tasks, config.result_seconds)
        self.faults = FaultInjector(config.faults, self._random("faults"))
        self.pictures = Pictures(
            plain_bytes=config.plain_bytes if config.picture == "plain" else None,
            cache_bytes=config.cache_bytes,
        )
        self.signer = Signer(self._random("secret").randbytes(20))
        self.uploads = UploadStore(
            self.signer,
            policy_seconds=config.policy_seconds,
            kept_seconds=config.upload_seconds,
        )
        self._latency_random = self._random("latency")

    def _random(self, name: str) -> Random:
        return Random(f"{self.config.seed}:{self.config.region}:{name}")

    def now(self) -> float:
        return self.clock.now()

    def advance(self) -> float:
        """Bring every task up to the present; return the clock's time."""
        now = self.clock.now()
        self.tasks.advance(now)
        return now

    def epoch(self) -> float:
        return self.epoch_offset + self.clock.now()

    def request_id(self) -> str:
        return str(uuid4())

    def base(self, request: Request) -> str:
        """Return the scheme, authority and mount point that *request* was sent to."""
        if self.config.public_base is not None:
            return self.config.public_base
        host = request.headers.get("host", "localhost")
        return f"{request.url.scheme}://{host}{request.scope.get('root_path', '')}"

    def create_task(
        self,
        caller: Caller,
        request: SubmitRequest,
        end: End,
        request_id: str,
        *,
        delay: float = 0.0,
        synchronous: bool = False,
    ) -> SandboxTask:
        """Create a task, or the record of a *synchronous* call, *delay* seconds from now."""
        seconds = self.latency.draw(self._latency_random) / self.config.speed
        task = SandboxTask(
            id=str(uuid4()),
            request_id=request_id,
            number=self.tasks.created,
            account=caller.account,
            key=caller.key,
            request=request,
            submitted=self.now() + delay,
            seconds=seconds if end.seconds is None else end.seconds,
            end=end,
            synchronous=synchronous,
        )
        self.tasks.add(task)
        return task

    def find(self, task_id: str, account: str) -> SandboxTask | None:
        """Return a task that *account* may ask about."""
        task = self.tasks.find(task_id, self.advance())
        if task is None or task.account != account or task.synchronous:
            return None
        return task

    def result_urls(self, task: SandboxTask, now: float, base: str) -> list[str]:
        """Return a signed URL for each image of a task that has succeeded by *now*, else none."""
        if task.status(now) != "SUCCEEDED" or task.ended is None:
            return []
        ended = self.epoch_offset + task.ended
        expires = int(ended + self.config.url_seconds)
        return [
            self.signer.url(base, result_path(task, index, ended), expires)
            for index in range(task.request.n)
        ]
