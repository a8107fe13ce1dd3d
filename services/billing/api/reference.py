"""Rates and terms: what finance sets."""

import secrets
from datetime import date
from typing import Any, Literal

from aiohttp import web
from pydantic import Field

from schemas.countries import Country
from schemas.fields import Currency, Id, Phase, Role
from schemas.money import parse_rate, rate_text
from schemas.periods import Month
from services.billing import store
from services.billing.api.common import Body, MonthText, RateText, office, require_known
from services.billing.books import ANY, Increment, Rate, Terms
from services.billing.terms import terms_for
from services.web.http import (
    Problem,
    body_of,
    firm_view,
    json_response,
    principal_of,
)


class RateIn(Body):
    """A rate an hour, from a date on; what is left out applies to all."""

    country: Country
    role: Role
    rate: RateText
    currency: Currency = "USD"
    valid_from: date
    valid_to: date | None = None
    firm_id: Id | None = None
    placement_id: Id | None = None
    phase: Phase | None = None


class TermsIn(Body):
    """How a firm is billed from a month on."""

    approval: Literal["none", "required"] = "required"
    increment_minutes: Literal[0, 6, 15] = 0
    direction: Literal["up", "nearest", "down"] = "up"
    effective_month: MonthText
    excluded_kinds: list[Literal["work", "rework", "training", "meeting", "idle"]] = Field(
        default_factory=list
    )
    excluded_phases: list[Phase] = Field(default_factory=list)


def _rate_out(rate: Rate) -> dict[str, Any]:
    return {
        "rate_id": rate.rate_id, "firm_id": rate.firm_id, "placement_id": rate.placement_id,
        "country": rate.country, "role": rate.role, "phase": rate.phase,
        "currency": rate.currency, "rate": rate_text(rate.rate_e4),
        "valid_from": rate.valid_from.isoformat(),
        "valid_to": rate.valid_to.isoformat() if rate.valid_to else None,
    }  # fmt: skip


async def get_rates(request: web.Request) -> web.StreamResponse:
    """Show the card in force."""
    async with office(request, "read_rates") as conn:
        rates = await store.list_rates(conn)
    return json_response(request, {"rates": [_rate_out(rate) for rate in rates]})


async def put_rate(request: web.Request) -> web.StreamResponse:
    """Put a rate on the card."""
    told = body_of(request, RateIn)
    if told.valid_to is not None and told.valid_to <= told.valid_from:
        raise Problem(422, "rate_dates", "valid_to must be after valid_from")
    if told.placement_id is not None and told.firm_id is None:
        raise Problem(422, "rate_firm", "A placement's rate names its firm")
    ids = [f"rt-{secrets.token_hex(6)}" for _ in range(4)]
    rate = Rate(
        ids[0], told.currency, parse_rate(told.rate), told.valid_from, told.valid_to,
        told.firm_id or ANY, told.placement_id or ANY, told.country, told.role, told.phase or ANY,
    )  # fmt: skip
    async with office(request, "set_rate", ids[0]) as conn:
        await store.set_rate(conn, rate, actor=principal_of(request).id, new_id=ids[1:])
    return json_response(request, _rate_out(rate))


def _terms_out(terms: Terms) -> dict[str, Any]:
    return {
        "version": terms.version,
        "approval": terms.approval,
        "increment_minutes": terms.increment.minutes,
        "direction": terms.increment.direction,
        "effective_month": str(terms.effective_month),
        "excluded_kinds": sorted(terms.excluded_kinds),
        "excluded_phases": sorted(terms.excluded_phases),
    }


async def get_terms(request: web.Request) -> web.StreamResponse:
    """Show the versions of a firm's terms, and the one in force this month."""
    firm_id = request.match_info["firm"]
    async with firm_view(request, firm_id, "read_terms") as conn:
        now = await store.read_clock(conn)
        versions = await store.load_terms(conn, firm_id, now)
        if not versions:  # they may be set before the directory tells of the firm
            await require_known(conn, firm_id)
    current = terms_for(versions, Month.of(now.date()))
    body = {"current": _terms_out(current), "versions": [_terms_out(t) for t in versions]}
    return json_response(request, body)


async def put_terms(request: web.Request) -> web.StreamResponse:
    """Add a version of a firm's terms."""
    firm_id, told = request.match_info["firm"], body_of(request, TermsIn)
    terms = Terms(
        "", 0, Month.parse(told.effective_month), told.approval,
        Increment(told.increment_minutes, told.direction),
        frozenset(told.excluded_kinds), frozenset(told.excluded_phases),
    )  # fmt: skip
    async with office(request, "set_terms", firm_id) as conn:
        version = await store.append_terms(conn, firm_id, terms, actor=principal_of(request).id)
    return json_response(request, _terms_out(terms) | {"version": version})
