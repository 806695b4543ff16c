"""One connected client at one edit: waited for, kept awake, answered."""

from dataclasses import dataclass

from gateway.domain.clock import Clock
from gateway.domain.errors import GatewayError
from gateway.domain.phases import Phase, Phases
from gateway.downstream.body import AnswerCut, ClientLeft
from gateway.downstream.delivery import Delivery, Measure
from gateway.downstream.edit_headers import server_timing
from gateway.downstream.opening import Opening
from gateway.downstream.ports import EdgeObserver
from gateway.downstream.refuse import note, refusal_headers
from gateway.downstream.request_line import RequestLine
from gateway.edits.request import EditResult

_PLACE_BY_STATUS = {"waiting": "queued", "submitting": "submitting", "succeeded": "downloading"}


@dataclass(frozen=True, slots=True)
class Stay:
    opening: Opening
    line: RequestLine
    phases: Phases
    measure: Measure
    clock: Clock
    observer: EdgeObserver

    async def answer(self) -> None:
        """
        Wait for the edit and send it.

        Raises:
            GatewayError: it ended badly, or not in time, and no byte has gone out.
            CustomerLeft: nobody is there any more.
            AnswerCut: a picture broke off for good in the middle of the answer.
        """
        opening = self.opening
        try:
            try:
                answer = await opening.client.unless_left(opening.answer)
            except GatewayError as error:
                if not opening.sent:
                    raise
                await self._tell(error)
            else:
                await self._deliver(answer)
        except ClientLeft:
            self.observer.client_disconnected(self._place())
            raise
        finally:
            self.line.told = opening.waiter.told

    async def _deliver(self, answer: EditResult) -> None:
        opening = self.opening
        answered = self.clock.now()
        self.phases.enter(Phase.RESPOND, answered)
        created = answer.told.created or int(self.clock.epoch())
        delivery = opening.manner.deliver(answer, created, self.measure)
        headers = dict(delivery.headers)
        if delivery.length is not None and not opening.sent:
            headers["content-length"] = str(delivery.length)
        now = self.clock.now()
        headers["server-timing"] = server_timing(self.phases.spent(now))
        self.line.overhead += now - answered
        self.observer.gateway_overhead(self.line.route, self.line.overhead)
        try:
            await self._send(headers, delivery)
        except GatewayError as error:
            note(self.line, error)
            raise AnswerCut from error
        await opening.waiter.delivered()
        await delivery.end(opening.send)

    async def _tell(self, error: GatewayError) -> None:
        """Tell of a bad end after the head, which said 200: here, the log and a metric tell."""
        line = self.line
        opening = self.opening
        line.told = opening.waiter.told
        self.phases.enter(Phase.RESPOND, self.clock.now())
        note(line, error)
        self.observer.http_late_error(error.status, line.tenant)
        told = Delivery({}, (opening.manner.error(error, line.request_id),))
        await self._send(refusal_headers(line, error), told)
        await told.end(opening.send)

    async def _send(self, headers: dict[str, str], delivery: Delivery) -> None:
        """Send all but the end; headers that come too late are told otherwise, or not at all."""
        opening = self.opening
        late = opening.manner.late(await opening.begin(headers))
        if late:
            await opening.send({"type": "http.response.body", "body": late, "more_body": True})
        await delivery.begin(opening.send, opening.client)

    def _place(self) -> str:
        if self.phases.phase is Phase.RESPOND:
            return "writing"
        return _PLACE_BY_STATUS.get(self.opening.waiter.told.status, "polling")
