"""One request → one Ask: read, then checked, and said how long it may take."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from starlette.requests import Request

from gateway.domain.clock import Clock
from gateway.domain.edit import Edit, MaskSource, Picture
from gateway.domain.errors import InvalidRequest
from gateway.domain.models import MODELS, Catalog
from gateway.domain.phases import Phases
from gateway.domain.tenant import MarkupRule, MaskRule, Tenant
from gateway.domain.trace import NO_TRACER, Tracer
from gateway.downstream.access_record import AccessRecord, record_of
from gateway.downstream.body import Limits, decoded
from gateway.downstream.form import read_form
from gateway.downstream.memory_budget import Reservation
from gateway.downstream.ports import Check, CheckMask, EdgeObserver, HasClearParts, LayOver
from gateway.edits.digest import digest_of, first_digest, mark_in_turns
from gateway.edits.patience import SHORTEST, patience, sdk_patience
from gateway.edits.request import EditRequest
from gateway.imaging.workers import Checked
from gateway.translate.openai_mask import check_own_mask, is_own_mask, masked
from gateway.translate.openai_pictures import Form
from gateway.translate.openai_request import edit_of, most_pictures

_LONGEST_KEY = 255


@dataclass(frozen=True, slots=True)
class Received:
    """A request whose body was read, and until when its client waits."""

    form: Form = field(repr=False)
    tenant: Tenant
    reservation: Reservation
    line: AccessRecord
    phases: Phases
    key: str | None
    deployment: str
    read_at: float
    until: float
    parent_trace: object


@dataclass(frozen=True, slots=True)
class RequestReader:
    check: Check
    check_mask: CheckMask
    has_clear_parts: HasClearParts
    lay_over: LayOver
    limits: Limits
    catalog: Catalog
    max_wait_seconds: float
    clock: Clock
    observer: EdgeObserver
    tracer: Tracer = NO_TRACER

    async def read(self, request: Request, tenant: Tenant, reservation: Reservation) -> Received:
        """
        Read the body.

        Raises:
            InvalidRequest: the body itself; see read_form.
            CustomerLeft: nobody waits for it any more.
        """
        line = record_of(request.scope)
        phases = Phases(started=line.started)
        line.phases = phases
        key = idempotency_key(request.headers)
        deployment = request.path_params.get("deployment", "")
        most_of = partial(most_pictures, catalog=self.catalog, deployment=deployment)
        receive = decoded(request.receive, request.headers)
        form = await read_form(receive, request.headers, self.limits, reservation, most_of)
        read_at = self.clock.now()
        until = read_at + self.patience_of(request, tenant)
        parent_trace = self.tracer.parent_trace(request.headers)
        return Received(
            form=form,
            tenant=tenant,
            reservation=reservation,
            line=line,
            phases=phases,
            key=key,
            deployment=deployment,
            read_at=read_at,
            until=until,
            parent_trace=parent_trace,
        )

    async def checked_request(self, received: Received) -> EditRequest:
        """
        Check everything that can be checked before money is spent.

        Raises:
            InvalidRequest: a field or a picture; see edit_of.
        """
        form = received.form
        tenant = received.tenant
        reservation = received.reservation
        line = received.line
        until = received.until
        deployment = received.deployment
        mask_source = _mask_source(form, tenant)
        rules = {"strict": tenant.strict, "fit": tenant.fit}
        edit = edit_of(form.fields, catalog=self.catalog, deployment=deployment, **rules)
        marks = [await mark_in_turns(ref.content, ref.url) for ref in form.pictures]
        markup = _markup(form, tenant)
        others = {"mask": await mark_in_turns(mask_source.mask)} if mask_source else {}
        if markup:
            others["markup"] = await mark_in_turns(markup)
        digest = digest_of(edit, self.catalog.operation, marks, others)
        inputs = MODELS[edit.model].inputs
        unread = [_unread(ref) for ref in form.pictures]
        own_mask = None
        if mask_source is None:
            own_mask = await self._mask_in_picture(edit, form, tenant, until)
        if markup:
            left = until - self.clock.now()
            unread[0] = await self.lay_over(form.pictures[0].content, markup, tenant, left)
        checked = await self.check(unread, tenant, inputs, until - self.clock.now())
        pictures = checked.pictures
        mask_source = mask_source or own_mask
        if mask_source is not None:
            left = until - self.clock.now()
            original = await self.check_mask(mask_source, tenant, left)
            edit = masked(edit, original, fit=tenant.fit)
        laid = ("1:markup_laid_over",) if markup else ()
        edit = replace(edit, adjusted=(*laid, *_told(checked), *edit.adjusted))
        edit_request = EditRequest(
            tenant=tenant,
            edit=edit,
            pictures=pictures,
            digest=digest,
            earlier_digests=await _earlier(edit, form, marks, pictures, others),
            patience=max(SHORTEST, until - self.clock.now()),
            phases=received.phases,
            retry_count=line.retry_count,
            edit_id=line.edit_id,
            repeats=line.repeats,
            idempotency_key=received.key,
            mask_source=mask_source,
            parent_trace=received.parent_trace,
            release=reservation.release,
            keep_only=reservation.shrink_to,
        )
        line.overhead += self.clock.now() - received.read_at
        return edit_request

    async def _mask_in_picture(
        self, edit: Edit, form: Form, tenant: Tenant, until: float
    ) -> MaskSource | None:
        """
        Return the first picture as its own mask, if the asked model means it so.

        Raises:
            InvalidRequest: it does, and masks or the answer as a URL make that impossible.
        """
        if not is_own_mask(edit) or not form.pictures or form.pictures[0].url:
            return None
        content = form.pictures[0].content
        if not await self.has_clear_parts(content, tenant, until - self.clock.now()):
            return None
        taken = tenant.mask is not MaskRule.REFUSE
        check_own_mask(edit, taken=taken, with_markup=form.markup is not None)
        return MaskSource(original=content, mask=content)

    def patience_of(self, request: Request, tenant: Tenant) -> float:
        """Return the seconds from now on that this client waits."""
        if (told := sdk_patience(request.headers)) is not None:
            self.observer.client_patience(told)
        whole = patience(
            request.headers,
            server_cap=self.max_wait_seconds,
            cut_off_seconds=tenant.cut_off_seconds,
        )
        return max(SHORTEST, whole - record_of(request.scope).waited)


def _unread(ref: Picture) -> bytes | Picture:
    """Return the bytes to check, or the URL, which goes on unread."""
    return Picture(url=ref.url) if ref.url else ref.content


async def _earlier(
    edit: Edit,
    form: Form,
    marks: list[bytes],
    pictures: tuple[Picture, ...],
    others: Mapping[str, bytes],
) -> frozenset[str]:
    """Return what version 1 made of it, which took pictures as they go upstream."""
    fitted = [
        mark
        if picture.url or picture.content is ref.content
        else await mark_in_turns(picture.content)
        for ref, mark, picture in zip(form.pictures, marks, pictures, strict=True)
    ]
    # What was fitted then may go up untouched today, and the other way round.
    mask = others.get("mask", b"")
    return frozenset({first_digest(edit, marks, mask), first_digest(edit, fitted, mask)})


def _told(checked: Checked) -> Iterator[str]:
    for number, done in enumerate(checked.adjusted, start=1):
        yield from (f"{number}:{what}" for what in done)


def retry_count(headers: Mapping[str, str]) -> int:
    """Return which blind repeat by an SDK this is; 0 for the first try and for nonsense."""
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


def _mask_source(form: Form, tenant: Tenant) -> MaskSource | None:
    """
    Return the first picture and its mask as they were sent; ``None`` without a mask.

    Raises:
        InvalidRequest: the tenant takes no masks, or one of the two is a URL: it is not read.
    """
    if form.mask is None:
        return None
    if tenant.mask is MaskRule.REFUSE:
        raise InvalidRequest(
            "A mask cannot be applied here: say in the prompt what shall stay as it is.",
            param="mask",
        )
    _refuse_url("mask", form.mask, form.pictures[0])
    return MaskSource(original=form.pictures[0].content, mask=form.mask.content)


def _markup(form: Form, tenant: Tenant) -> bytes:
    """
    Return the markup as it was sent; empty without one.

    Raises:
        InvalidRequest: the tenant takes none, or it or its picture is a URL: it is not read.
    """
    if form.markup is None:
        return b""
    if tenant.markup is MarkupRule.REFUSE:
        raise InvalidRequest(
            "A markup cannot be used here: say in the prompt what shall be done where.",
            param="markup",
        )
    _refuse_url("markup", form.markup, form.pictures[0])
    return form.markup.content


def _refuse_url(kind: str, drawn: Picture, first: Picture) -> None:
    """
    Refuse a mask or a markup that cannot be laid over its picture, since a URL is not read.

    Raises:
        InvalidRequest: one of the two is a URL.
    """
    if drawn.url or first.url:
        which = f"the {kind}" if drawn.url else "the image"
        raise InvalidRequest(
            f"With a {kind}, {which} cannot be a URL: send the file itself or a data URL.",
            param=kind,
        )
