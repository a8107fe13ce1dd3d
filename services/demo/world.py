"""The simulated world: firms in US zones, assistants in six countries, their shifts and phases."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal
from zoneinfo import ZoneInfo

import holidays

Tool = Literal["tracker", "toggl", "clockify"]

FIRM_ZONES = ("America/New_York", "America/Chicago", "America/Denver", "America/Los_Angeles")
PLACEMENTS_PER_FIRM = 3
SHIFT_MINUTES = 540
OFFICE_START_HOUR = 9
OFFICE_MINUTES = 480


@dataclass(frozen=True)
class Desk:
    """Where an assistant works from, and when: shift start in the desk's own zone."""

    country: str
    zone: str
    shift_start: str
    coverage: Literal["overlap", "overnight"]


DESKS = (
    Desk("PH", "Asia/Manila", "21:00", "overlap"),
    Desk("CO", "America/Bogota", "09:00", "overlap"),
    Desk("IN", "Asia/Kolkata", "18:30", "overlap"),
    Desk("MX", "America/Mexico_City", "09:00", "overlap"),
    Desk("CR", "America/Costa_Rica", "09:00", "overlap"),
    Desk("AR", "America/Argentina/Buenos_Aires", "10:00", "overlap"),
    Desk("PH", "Asia/Manila", "09:00", "overnight"),
)
ROLES = ("legal_assistant", "legal_assistant", "intake_specialist", "legal_assistant", "paralegal")


@dataclass(frozen=True)
class Firm:
    """A simulated firm."""

    firm_id: str
    zone: str

    @property
    def principal(self) -> str:
        """Who speaks for the firm."""
        return f"firm:{self.firm_id}"


@dataclass(frozen=True)
class Placement:
    """A simulated placement; `phases` are (effective date, phase), the first one from the start."""

    placement_id: str
    firm: Firm
    assistant_id: str
    desk: Desk
    role: str
    tool: Tool
    phases: tuple[tuple[date, str], ...]
    moves_to: tuple[date, str] | None

    @property
    def principal(self) -> str:
        """Who sends this placement's events."""
        return f"tracker:{self.assistant_id}"

    @property
    def source(self) -> str:
        """The tracker's device."""
        return f"tracker/{self.assistant_id}"

    @property
    def zone(self) -> ZoneInfo:
        """The zone of the assistant's desk."""
        return ZoneInfo(self.desk.zone)


@dataclass(frozen=True)
class World:
    """All firms and placements, and the first day of the simulated span."""

    firms: tuple[Firm, ...]
    placements: tuple[Placement, ...]
    first_day: date
    after_day: date


def build_world(firm_count: int, first_day: date, month_count: int) -> World:
    """Lay out firms and their placements; the same arguments give the same world."""
    firms = tuple(
        Firm(f"firm-{number + 1:03}", FIRM_ZONES[number % len(FIRM_ZONES)])
        for number in range(firm_count)
    )
    placements = tuple(
        _placement(firm, number * PLACEMENTS_PER_FIRM + seat, first_day)
        for number, firm in enumerate(firms)
        for seat in range(PLACEMENTS_PER_FIRM)
    )
    months = first_day.month - 1 + month_count
    after_day = date(first_day.year + months // 12, months % 12 + 1, 1)
    return World(firms, placements, first_day, after_day)


def _placement(firm: Firm, index: int, first_day: date) -> Placement:
    """Give seat `index` its desk, role, tool and phases; some seats have a story of their own."""
    phases: tuple[tuple[date, str], ...] = ((first_day - timedelta(days=90), "active"),)
    if index % 12 == 2:
        phases = (
            (first_day, "trial"),
            (first_day + timedelta(days=9), "shadow"),
            (first_day + timedelta(days=19), "active"),
        )
    elif index % 12 == 7:
        phases = ((first_day, "shadow"), (first_day + timedelta(days=12), "active"))
    tools: dict[int, Tool] = {4: "toggl", 9: "clockify"}
    return Placement(
        placement_id=f"pl-{index + 1:04}",
        firm=firm,
        assistant_id=f"as-{index + 1:04}",
        desk=DESKS[index % len(DESKS)],
        role=ROLES[index % len(ROLES)],
        tool=tools.get(index % 12, "tracker"),
        phases=phases,
        moves_to=(first_day + timedelta(days=15), "CR") if index % 12 == 3 else None,
    )


def us_federal_closed_dates(*years: int) -> tuple[date, ...]:
    """List the US federal holidays (observed) of some years, as the `holidays` package has them."""
    return tuple(sorted(holidays.country_holidays("US", years=years)))


def office_hours() -> list[dict[str, Any]]:
    """Monday to Friday, nine to five."""
    return [
        {"weekday": day, "start": f"{OFFICE_START_HOUR:02}:00", "minutes": OFFICE_MINUTES}
        for day in range(1, 6)
    ]


@dataclass(frozen=True)
class DirectoryFact:
    """One thing that the agency's admin says about the world."""

    type: str
    time: datetime
    data: dict[str, Any]


def directory_facts(world: World) -> Iterator[DirectoryFact]:
    """Say the whole world as directory events, firms first."""
    told = datetime.combine(world.first_day - timedelta(days=30), datetime.min.time(), UTC)
    years = range(world.first_day.year, world.after_day.year + 1)
    closed = [day.isoformat() for day in us_federal_closed_dates(*years)]
    for firm in world.firms:
        yield DirectoryFact(
            "turnsheet.firm.registered.v1",
            told,
            {"firm_id": firm.firm_id, "timezone": firm.zone, "country": "US", "currency": "USD"},
        )
        yield DirectoryFact(
            "turnsheet.firm.calendar_changed.v1",
            told,
            {
                "firm_id": firm.firm_id,
                "zone": firm.zone,
                "slots": office_hours(),
                "closed_dates": closed,
                "effective_date": (world.first_day - timedelta(days=365)).isoformat(),
            },
        )
    for placement in world.placements:
        yield from _placement_facts(placement, told)


def _placement_facts(placement: Placement, told: datetime) -> Iterator[DirectoryFact]:
    yield DirectoryFact(
        "turnsheet.assistant.registered.v1",
        told,
        {"assistant_id": placement.assistant_id, "home_country": placement.desk.country},
    )
    ids = {"firm_id": placement.firm.firm_id, "placement_id": placement.placement_id}
    first_date, first_phase = placement.phases[0]
    start = datetime.combine(first_date, datetime.min.time(), ZoneInfo(placement.firm.zone))
    shift = {
        "zone": placement.desk.zone,
        "slots": [
            {"weekday": day, "start": placement.desk.shift_start, "minutes": SHIFT_MINUTES}
            for day in range(1, 6)
        ],
    }
    yield DirectoryFact(
        "turnsheet.placement.started.v1",
        told,
        ids
        | {
            "assistant_id": placement.assistant_id,
            "role": placement.role,
            "country": placement.desk.country,
            "phase": first_phase,
            "coverage": placement.desk.coverage,
            "shift": shift,
            "supervising_attorney_id": f"at-{placement.firm.firm_id}",
            "started_at": start.isoformat(),
        },
    )
    for effective, phase in placement.phases[1:]:
        yield DirectoryFact(
            "turnsheet.placement.phase_changed.v1",
            told,
            ids | {"phase": phase, "effective_date": effective.isoformat()},
        )
    if placement.moves_to is not None:
        effective, country = placement.moves_to
        yield DirectoryFact(
            "turnsheet.placement.country_changed.v1",
            told,
            ids | {"country": country, "effective_date": effective.isoformat()},
        )
