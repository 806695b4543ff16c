"""One HTTP request → one EditRequest: the body is read, then everything in it is checked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import orjson
from starlette.requests import Request
from starlette.types import Message

from gateway.domain.clock import Clock, Phases
from gateway.domain.edit import Edit, MaskSource, Picture
from gateway.domain.errors import InvalidRequest
from gateway.domain.models import Catalog, Model, Operation
from gateway.domain.tenant import MarkupRule, MaskRule, Tenant
from gateway.domain.trace import NO_TRACER, Tracer
from gateway.downstream.access_record import AccessRecord, record_of
from gateway.downstream.body import BodyLimits, decoded
from gateway.downstream.form import read_form
from gateway.downstream.memory_budget import Reservation
from gateway.downstream.pacer import Pacer
from gateway.downstream.ports import EdgeObserver
from gateway.edits.digest import digest_of, first_digest, mark_in_turns
from gateway.edits.patience import SHORTEST, patience, sdk_patience
from gateway.edits.request import EditRequest
from gateway.imaging.slots import SlotClaim
from gateway.imaging.workers import Imaging
from gateway.translate.openai_mask import apply_mask, check_own_mask, is_own_mask
from gateway.translate.openai_pictures import Form
from gateway.translate.openai_request import edit_of, most_pictures
from gateway.translate.size_rule import unasked_size

_LONGEST_KEY = 255


@dataclass(frozen=True, slots=True)
class Received:
    """A request whose body was read and not checked yet."""

    form: Form = field(repr=False)
    tenant: Tenant
    reservation: Reservation
    record: AccessRecord
    phases: Phases
    idempotency_key: str | None
    deployment: str
    """From Azure's path; empty at the other paths."""
    prefers_async: bool
    read_at: float
    """Monotonic time at which the last byte arrived."""
    deadline: float
    """Monotonic time until which the client waits."""
    parent_trace: object


@dataclass(frozen=True, slots=True)
class RequestReader:
    """
    Reads the requests of one path.

    Args:
        imaging: Decodes pictures and brings them into the model's rules.
        pacer: Gives each piece of a body its turn.
        limits: What a body may be at most.
        operation: What the path is for; a generation that brings pictures is an edit (D102).
        max_wait_seconds: The longest that a client may wait.
        clock: Time.
        observer: Counts.
        tracer: Reads the client's own trace headers.
        keeps: Whether the gateway keeps pictures, so that any may be answered by a URL (D112).
    """

    imaging: Imaging
    pacer: Pacer
    limits: BodyLimits
    operation: Operation
    max_wait_seconds: float
    clock: Clock
    observer: EdgeObserver
    tracer: Tracer = NO_TRACER
    keeps: bool = False

    async def receive(self, request: Request, tenant: Tenant, reservation: Reservation) -> Received:
        """
        Read the body to its end.

        Raises:
            InvalidRequest: the body cannot be read; see read_form.
            ClientLeft: the client hung up first.
        """
        headers = request.headers
        record = record_of(request.scope)
        record.phases = phases = Phases(started=record.started)
        key = idempotency_key(headers)
        deployment = request.path_params.get("deployment", "")
        read_at = self.clock.now()

        async def receive() -> Message:
            nonlocal read_at
            message = await request.receive()
            if message.get("body"):  # the client waits from its last one on, also for its turn
                read_at = self.clock.now()
            return message

        form = await read_form(
            decoded(receive, headers),
            headers,
            self.limits,
            reservation,
            partial(self._most_pictures, tenant, deployment),
            partial(self.pacer.turn, tenant.name),
        )
        return Received(
            form=form,
            tenant=tenant,
            reservation=reservation,
            record=record,
            phases=phases,
            idempotency_key=key,
            deployment=deployment,
            prefers_async=prefers_async(headers),
            read_at=read_at,
            deadline=read_at + self.patience_of(request, tenant),
            parent_trace=self.tracer.parent_trace(headers),
        )

    async def read(self, received: Received) -> EditRequest:
        """
        Check everything that can be checked before money is spent (P11).

        Raises:
            InvalidRequest: a field or a picture; see edit_of.
            InvalidImage: a picture cannot be decoded, or breaks the model's rules.
            Overloaded: no thread was free in time.
        """
        form = received.form
        tenant = received.tenant
        record = received.record
        claim = SlotClaim.of(tenant.name, received.deadline - self.clock.now())
        mask_source = _mask_source(form, tenant)
        catalog = self._catalog(tenant, len(form.pictures))
        edit = edit_of(
            form.fields,
            catalog=catalog,
            deployment=received.deployment,
            strict=tenant.strict,
            fit=tenant.fit,
            keeps=self.keeps,
        )
        model = catalog.models[edit.model]
        markup = _markup(form, tenant)
        marks = [await mark_in_turns(it.content, it.url) for it in form.pictures]
        other_marks = {}
        if mask_source is not None:
            other_marks["mask"] = await mark_in_turns(mask_source.mask)
        if markup:
            other_marks["markup"] = await mark_in_turns(markup)
        digest = digest_of(edit, self.operation, marks, other_marks)
        if mask_source is None:
            mask_source = await self._mask_in_picture(edit, received, claim)
        pictures = await self._check_pictures(model, markup, received, claim)
        sizes = model.sizes_of(catalog.operation)
        if edit.size is None:
            edit = replace(edit, size=unasked_size(pictures[-1].size if pictures else None, sizes))
        adjusted = [f"{nth}:{what}" for nth, it in enumerate(pictures, 1) for what in it.adjusted]
        _check_boxes(edit, form, pictures)
        if markup:
            adjusted.insert(0, "1:markup_laid_over")
        if mask_source is not None:
            original = await self.imaging.check_mask(mask_source, claim)
            edit = apply_mask(edit, original, sizes, fit=tenant.fit, keeps=self.keeps)
        edit = replace(edit, adjusted=(*adjusted, *edit.adjusted))
        earlier_digests = await _earlier_digests(edit, form, marks, pictures, other_marks)
        now = self.clock.now()
        record.overhead += now - received.read_at
        return EditRequest(
            tenant=tenant,
            edit=edit,
            pictures=pictures,
            digest=digest,
            earlier_digests=earlier_digests,
            patience=max(SHORTEST, received.deadline - now),
            phases=received.phases,
            request_id=record.request_id,
            retry_count=record.retry_count,
            edit_id=record.edit_id,
            repeats=record.repeats,
            waited=record.waited,
            idempotency_key=received.idempotency_key,
            # Whoever asks for a stream wants to wait; Prefer need not be granted.
            promise=received.prefers_async and not edit.output.stream,
            mask_source=mask_source,
            parent_trace=received.parent_trace,
            release=received.reservation.release,
            keep_only=received.reservation.shrink_to,
        )

    def _most_pictures(
        self, tenant: Tenant, deployment: str, fields: Sequence[tuple[str, str]], count: int
    ) -> int:
        """Return how many pictures a request may have that has *count*."""
        if self.operation is Operation.GENERATE and not count:
            return 0
        return most_pictures(fields, self._catalog(tenant, count), deployment)

    def _catalog(self, tenant: Tenant, pictures: int) -> Catalog:
        """Return the models for a request with so many *pictures*; with any it is an edit."""
        return tenant.catalogs[Operation.EDIT if pictures else self.operation]

    async def _check_pictures(
        self, model: Model, markup: bytes, received: Received, claim: SlotClaim
    ) -> tuple[Picture, ...]:
        """Return the pictures as they go upstream, the first with *markup* laid over it."""
        pictures = list(received.form.pictures)
        if markup:
            marked = await self.imaging.lay_over(pictures[0].content, markup, claim)
            pictures[0] = Picture(content=marked)
        return await self.imaging.check(pictures, received.tenant, model.inputs, claim)

    async def _mask_in_picture(
        self, edit: Edit, received: Received, claim: SlotClaim
    ) -> MaskSource | None:
        """
        Return the first picture as its own mask, if the requested model works so (D59).

        Raises:
            InvalidRequest: it does, but the tenant refuses masks, or the answer is to be a URL.
        """
        form = received.form
        tenant = received.tenant
        if not is_own_mask(edit) or not form.pictures or form.pictures[0].url:
            return None
        content = form.pictures[0].content
        if not await self.imaging.has_clear_parts(content, claim):
            return None
        taken = tenant.mask is not MaskRule.REFUSE
        check_own_mask(edit, taken=taken, with_markup=form.markup is not None, keeps=self.keeps)
        return MaskSource(original=content, mask=content)

    def patience_of(self, request: Request, tenant: Tenant) -> float:
        """Return the seconds from now on that this client waits (P6)."""
        if (seconds := sdk_patience(request.headers)) is not None:
            self.observer.client_patience(seconds)
        whole = patience(
            request.headers,
            server_cap=self.max_wait_seconds,
            cut_off_seconds=tenant.cut_off_seconds,
        )
        return max(SHORTEST, whole - record_of(request.scope).waited)


async def _earlier_digests(
    edit: Edit,
    form: Form,
    marks: list[bytes],
    pictures: tuple[Picture, ...],
    other_marks: Mapping[str, bytes],
) -> frozenset[str]:
    """Return the digests that version 1 made, which hashed pictures as they go upstream (D99)."""
    fitted = [
        mark if picture.content is sent.content else await mark_in_turns(picture.content)
        for sent, mark, picture in zip(form.pictures, marks, pictures, strict=True)
    ]
    # What was fitted then may go up untouched today, and the other way round.
    mask = other_marks.get("mask", b"")
    return frozenset({first_digest(edit, marks, mask), first_digest(edit, fitted, mask)})


def prefers_async(headers: Mapping[str, str]) -> bool:
    """Return whether ``Prefer: respond-async`` asks for a 202 at once (RFC 7240)."""
    preferences = headers.get("prefer", "").lower().split(",")
    return any(it.partition(";")[0].strip() == "respond-async" for it in preferences)


def retry_count(headers: Mapping[str, str]) -> int:
    """Return which retry by an SDK this is; 0 for the first try and for what cannot be read."""
    text = headers.get("x-stainless-retry-count", "")
    return int(text) if len(text) < 4 and text.isascii() and text.isdigit() else 0


def idempotency_key(headers: Mapping[str, str]) -> str | None:
    """
    Return the client's own name for this request, if it gave one.

    Raises:
        InvalidRequest: it is too long.
    """
    key = headers.get("idempotency-key", "").strip()
    if len(key) > _LONGEST_KEY:
        raise InvalidRequest(
            f"The header 'Idempotency-Key' is over {_LONGEST_KEY} characters long. Send fewer."
        )
    return key or None


def _check_boxes(edit: Edit, form: Form, pictures: Sequence[Picture]) -> None:
    """
    Refuse boxes that do not fit the pictures that go up.

    Raises:
        InvalidRequest: there are not as many lists as pictures, or a picture was scaled or
            turned, so that its boxes mark something else.
    """
    boxes = dict(edit.options).get("bbox_list")
    if boxes is None:
        return
    if len(orjson.loads(boxes)) != len(form.pictures):
        raise InvalidRequest(
            f"Invalid value for 'bbox_list': expected one list for each of your"
            f" {len(form.pictures)} images, empty where nothing is marked.",
            param="bbox_list",
        )
    for nth, picture in enumerate(pictures, 1):
        if picture.moved:
            raise InvalidRequest(
                f"With 'bbox_list' image {nth} must be sent as the model takes it. It had to be"
                f" changed ({', '.join(picture.adjusted)}), so its boxes would mark other places.",
                param="bbox_list",
            )


def _mask_source(form: Form, tenant: Tenant) -> MaskSource | None:
    """
    Return the first picture and its mask as they were sent; ``None`` without a mask.

    Raises:
        InvalidRequest: the tenant takes no masks, or the mask or the picture is a URL, which
            is not opened here.
    """
    if form.mask is None:
        return None
    if tenant.mask is MaskRule.REFUSE:
        raise InvalidRequest(
            "A mask cannot be applied here: say in the prompt what is to stay as it is.",
            param="mask",
        )
    _refuse_url("mask", form.mask, form.pictures[0])
    return MaskSource(original=form.pictures[0].content, mask=form.mask.content)


def _markup(form: Form, tenant: Tenant) -> bytes:
    """
    Return the markup as it was sent; empty without one.

    Raises:
        InvalidRequest: the tenant takes none, or the markup or the picture is a URL, which is
            not opened here.
    """
    if form.markup is None:
        return b""
    if tenant.markup is MarkupRule.REFUSE:
        raise InvalidRequest(
            "A markup cannot be used here: say in the prompt what is to be done where.",
            param="markup",
        )
    _refuse_url("markup", form.markup, form.pictures[0])
    return form.markup.content


def _refuse_url(kind: str, drawn: Picture, first: Picture) -> None:
    """
    Refuse a mask or a markup that cannot be combined with its picture.

    Raises:
        InvalidRequest: one of the two is a URL.
    """
    if drawn.url or first.url:
        which = f"the {kind}" if drawn.url else "the image"
        raise InvalidRequest(
            f"With a {kind}, {which} cannot be a URL: send the file itself or a data URL.",
            param=kind,
        )
