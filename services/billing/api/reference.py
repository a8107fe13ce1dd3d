"""Rates and terms: what finance sets."""

import secrets
from typing import Any, Literal

from aiohttp import web
from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from schemas.countries import Country
from schemas.fields import Currency, Id, Phase, Role
from schemas.instants import Day
from schemas.money import parse_rate, rate_text
from schemas.periods import Month, local_date
from services.billing import store
from services.billing.api.common import Body, MonthText, RateText, office, require_known
from services.billing.books import ANY, Increment, Rate, Terms
from services.billing.terms import terms_for
from services.directories import load_firm
from services.web.http import (
    body_of,
    firm_view,
    json_response,
    principal_of,
)


class RateIn(Body):
    """A rate an hour, from a date on; what is left out applies to all.

    A placement's rate is that of its work wherever and as whatever it is done: country and role are
    no part of it. Every other rate names both.
    """

    country: Country | None = None
    role: Role | None = None
    rate: RateText
    currency: Currency = "USD"
    valid_from: Day
    valid_to: Day | None = None
    firm_id: Id | None = None
    placement_id: Id | None = None
    phase: Phase | None = None

    @model_validator(mode="after")
    def of_something(self) -> "RateIn":
        """Refuse a rate that is nobody's, and dates the wrong way round."""
        if self.valid_to is not None and self.valid_to <= self.valid_from:
            raise PydanticCustomError("rate_dates", "valid_to must be after valid_from")
        if self.placement_id is not None and self.firm_id is None:
            raise PydanticCustomError("rate_firm", "a placement's rate names its firm")
        if self.placement_id is None and (self.country is None or self.role is None):
            raise PydanticCustomError(
                "rate_key", "name country and role: only a placement's rate goes without"
            )
        return self

    def rate_of(self, rate_id: str) -> Rate:
        """Make the rate, under its key on the card."""
        anywhere = self.placement_id is not None
        return Rate(
            rate_id, self.currency, parse_rate(self.rate), self.valid_from, self.valid_to,
            self.firm_id or ANY, self.placement_id or ANY,
            (None if anywhere else self.country) or ANY, (None if anywhere else self.role) or ANY,
            self.phase or ANY,
        )  # fmt: skip


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
    rate = body_of(request, RateIn).rate_of(_new_rate_id())
    async with office(request, "set_rate", rate.rate_id) as conn:
        await store.set_rate(conn, rate, actor=principal_of(request).id, new_id=_new_rate_id)
    return json_response(request, _rate_out(rate))


def _new_rate_id() -> str:
    return f"rt-{secrets.token_hex(6)}"


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
        firm = await load_firm(conn, firm_id)
    today = local_date(now, firm.timezone) if firm else now.date()
    current = terms_for(versions, Month.of(today))
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
