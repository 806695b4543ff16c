"""One simulated region: everything that lives as long as it does, and the making of a task."""

from random import Random
from uuid import uuid4

from starlette.requests import Request

from gateway.sandbox.config import Clock, Latency, SandboxConfig
from gateway.sandbox.faults import End, FaultBook
from gateway.sandbox.limits import Caller, Callers, Rates
from gateway.sandbox.object_storage import Signer, Uploads, result_path
from gateway.sandbox.pictures import Pictures
from gateway.sandbox.tasks import Books, Order, Task


class Region:
    """
    The state behind all doors.

    Latencies and faults have their own seeded dice; ids are never seeded, so that a restarted
    region does not give out the ids of its former life again.

    Attributes:
        latency: Of tasks made from now on; the admin door changes it.
        zero: Epoch of the clock's 0, which never changes.
    """

    def __init__(self, config: SandboxConfig, clock: Clock) -> None:
        self.config = config
        self.clock = clock
        self.zero = clock.epoch() - clock.now()
        self.latency: Latency = config.latency
        self.callers = Callers(config.accounts)
        self.rates = Rates(config.limits)
        self.books = Books(config.limits.running_tasks, config.result_seconds)
        self.faults = FaultBook(config.faults, self._dice("faults"))
        self.pictures = Pictures(
            plain_bytes=config.plain_bytes if config.picture == "plain" else None,
            cache_bytes=config.cache_bytes,
        )
        self.signer = Signer(self._dice("secret").randbytes(20))
        self.uploads = Uploads(
            self.signer,
            policy_seconds=config.policy_seconds,
            kept_seconds=config.upload_seconds,
        )
        self._latency_dice = self._dice("latency")

    def _dice(self, name: str) -> Random:
        return Random(f"{self.config.seed}:{self.config.region}:{name}")

    def now(self) -> float:
        return self.clock.now()

    def settled_now(self) -> float:
        """Give the time, with every task brought up to it."""
        now = self.clock.now()
        self.books.settle(now)
        return now

    def epoch(self) -> float:
        return self.zero + self.clock.now()

    def request_id(self) -> str:
        return str(uuid4())

    def base(self, request: Request) -> str:
        """Give the scheme, authority and mount point under which *request* found this region."""
        if self.config.public_base is not None:
            return self.config.public_base
        host = request.headers.get("host", "localhost")
        return f"{request.url.scheme}://{host}{request.scope.get('root_path', '')}"

    def make(
        self, caller: Caller, order: Order, end: End, request_id: str, delay: float = 0.0
    ) -> Task:
        """Make a task that appears *delay* seconds from now."""
        seconds = self.latency.draw(self._latency_dice) / self.config.speed
        task = Task(
            id=str(uuid4()),
            request_id=request_id,
            number=self.books.made,
            account=caller.account,
            key=caller.key,
            order=order,
            submitted=self.now() + delay,
            seconds=seconds if end.seconds is None else end.seconds,
            end=end,
        )
        self.books.enter(task)
        return task

    def find(self, task_id: str, account: str) -> Task | None:
        """Find a task that *account* may ask about."""
        task = self.books.find(task_id, self.settled_now())
        if task is None or task.account != account or task.answers_at_once:
            return None
        return task

    def result_urls(self, task: Task, now: float, base: str) -> list[str]:
        """Give a signed URL for each image of a task that has succeeded by *now*."""
        if task.status(now) != "SUCCEEDED" or task.ended is None:
            return []
        ended = self.zero + task.ended
        expires = int(ended + self.config.url_seconds)
        return [
            self.signer.url(base, result_path(task, index, ended), expires)
            for index in range(task.order.n)
        ]
