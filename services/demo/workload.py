"""A lawful, lively month of work: who did what when, and how it reached us (pure; seeded)."""

import heapq
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

from services.demo.world import (
    OFFICE_START_HOUR,
    SHIFT_MINUTES,
    Firm,
    Placement,
    World,
    build_world,
    directory_facts,
    us_federal_closed_dates,
)

ADMIN = "admin:agency"
DESK = "agency/directory"
TASK_TYPES = (
    "document_prep",
    "calendar_deadlines",
    "filing_service",
    "matter_file",
    "client_comms",
    "intake",
    "scheduling",
    "inbox_admin",
)
TASK_WEIGHTS = (24, 14, 12, 12, 14, 8, 8, 8)
HOLD_REASONS = (
    "waiting_on_client",
    "waiting_on_firm",
    "waiting_on_third_party",
    "waiting_on_agency",
)
ESCALATIONS = ("ambiguity", "legal_advice_boundary", "client_commitment", "deadline_risk", "access")
OUTCOMES = ("accepted", "accepted_with_corrections", "changes_requested", "rejected")
OUTCOME_WEIGHTS = (80, 8, 10, 2)


@dataclass(frozen=True)
class Sent:
    """One event as its sender posts it: when it leaves, who sends it, and its bytes."""

    sent_at: datetime
    principal: str
    body: bytes


@dataclass(frozen=True)
class ToolRow:
    """A stretch of time that a tool keeps for us instead of an event."""

    placement: Placement
    started_at: datetime
    ended_at: datetime
    task_type: str
    billable: bool


@dataclass(frozen=True)
class Workload:
    """All that happens: the directory, the events in the order of sending, the tools' rows."""

    world: World
    directory: tuple[Sent, ...]
    events: tuple[Sent, ...]
    tool_rows: tuple[ToolRow, ...]


@dataclass(order=True)
class Job:
    """A task on an assistant's pile; the pile is worked in the order of availability."""

    available_at: datetime
    task_id: str
    task_type: str = field(compare=False)
    matter_ref: str = field(compare=False)
    attempt: int = field(compare=False, default=1)
    hold_id: str | None = field(compare=False, default=None)
    hold_reason: str = field(compare=False, default="")
    seen: bool = field(compare=False, default=False)


def simulate(
    firm_count: int, month_count: int, seed: int, first_day: date, days_worked: int = 31
) -> Workload:
    """Simulate months from `first_day`, a month's first; equal arguments, equal bytes.

    `days_worked`: nobody works after this day of a month, though firms still answer.
    """
    world = build_world(firm_count, first_day, month_count)
    directory = tuple(
        Sent(
            fact.time,
            ADMIN,
            _envelope(DESK, f"dir-{n:05}", fact.type, fact.time, fact.data),
        )
        for n, fact in enumerate(directory_facts(world), 1)
    )
    events: list[Sent] = []
    tool_rows: list[ToolRow] = []
    for placement in world.placements:
        rng = Random(f"{seed}:{placement.placement_id}")  # noqa: S311 (a simulation, no secret)
        diary = Diary(placement, rng)
        diary.live(world, days_worked)
        events.extend(diary.sent)
        tool_rows.extend(diary.tool_rows)
    events.sort(key=lambda sent: (sent.sent_at, sent.principal, sent.body))
    return Workload(world, directory, tuple(events), tuple(tool_rows))


def _envelope(source: str, event_id: str, name: str, at: datetime, data: dict[str, Any]) -> bytes:
    envelope = {
        "specversion": "1.0",
        "id": event_id,
        "source": source,
        "type": name,
        "time": at.isoformat(),
        "datacontenttype": "application/json",
        "data": data,
    }
    return json.dumps(envelope, separators=(",", ":")).encode()


class Diary:
    """One placement's months: its pile of tasks, its shifts, and what its tracker sends."""

    def __init__(self, placement: Placement, rng: Random) -> None:
        self.placement = placement
        self.rng = rng
        self.sent: list[Sent] = []
        self.tool_rows: list[ToolRow] = []
        self._pile: list[Job] = []
        self._events = 0
        self._entries = 0
        self._tasks = 0
        self._offline = False

    # The shift

    def live(self, world: World, days_worked: int) -> None:
        """Work the shifts of the world's span, as long as the placement lasts."""
        closed = set(us_federal_closed_dates(world.first_day.year, world.after_day.year))
        day = max(world.first_day, self.placement.phases[0][0])
        while day < world.after_day:
            if day.weekday() < 5 and day not in closed and day.day <= days_worked:
                self._receive_requests(day)
                if self.rng.random() > 0.02:  # now and then somebody is ill
                    self._offline = self.rng.random() < 0.06
                    self._work_shift(day)
            day += timedelta(days=1)
        if self.placement.tool == "tracker" and self.rng.random() < 0.15:
            self._forget_timer(world.after_day - timedelta(days=1))

    def _receive_requests(self, day: date) -> None:
        """The firm asks for a few things in its office hours."""
        for _ in range(self.rng.randint(2, 4)):
            at = _office_moment(self.placement.firm, day, self.rng)
            self._tasks += 1
            self_created = self.rng.random() < 0.05
            job = Job(
                at,
                f"tk-{self.placement.placement_id[3:]}-{self._tasks:04}",
                self.rng.choices(TASK_TYPES, TASK_WEIGHTS)[0],
                f"m-{self.rng.randint(1, 40):04}",
            )
            data: dict[str, Any] = {
                "task_type": job.task_type,
                "matter_ref": job.matter_ref,
                "requested_by": f"at-{self.placement.firm.firm_id}",
                "sla_class": self.rng.choice(("standard", "standard", "rush")),
                "workflow_ref": f"wf-{job.task_type}",
            }
            if self_created:
                data["self_created"] = True
            sender = self._tracker if self_created else self._firm
            sender("task.requested", at, self._about(job) | data)
            if not self_created:
                self._firm(
                    "task.assigned",
                    at + timedelta(seconds=30),
                    self._about(job) | {"assistant_id": self.placement.assistant_id},
                )
            if self.rng.random() < 0.02:
                self._firm(
                    "task.cancelled",
                    at + timedelta(minutes=20),
                    self._about(job) | {"reason": "no_longer_needed"},
                )
            else:
                heapq.heappush(self._pile, job)

    def _work_shift(self, day: date) -> None:
        start_hour, start_minute = map(int, self.placement.desk.shift_start.split(":"))
        start = datetime.combine(
            day, time(start_hour, start_minute), self.placement.zone
        ).astimezone(UTC)
        end = start + timedelta(minutes=SHIFT_MINUTES)
        lunch = start + timedelta(minutes=SHIFT_MINUTES // 2)
        now = start + timedelta(seconds=self.rng.randint(0, 400))
        while end - now > timedelta(minutes=15):
            if lunch is not None and now >= lunch:
                now, lunch = now + timedelta(minutes=60), end
                continue
            stop = min(end, now + timedelta(seconds=int(self.rng.triangular(600, 6600, 2100))))
            if self._pile and self._pile[0].available_at <= now:
                self._work_on(heapq.heappop(self._pile), now, stop)
            else:
                self._keep_house(now, stop)
            now = stop + timedelta(seconds=self.rng.randint(20, 500))

    def _work_on(self, job: Job, start: datetime, stop: datetime) -> None:
        """Give one stretch of the shift to a task; it ends held, escalated or submitted."""
        about = self._about(job)
        if not job.seen:
            if self.rng.random() < 0.6:
                self._tracker("task.acknowledged", start - timedelta(seconds=15), about)
            self._tracker("task.started", start, about | {"attempt": job.attempt})
        if job.hold_id is not None:
            self._tracker(
                "task.resumed", start, about | {"hold_id": job.hold_id, "reason": job.hold_reason}
            )
        kind = "rework" if job.attempt > 1 else "work"
        self._enter(start, stop, job.task_type, job, kind, billable=True)
        job = replace(job, seen=True, hold_id=None, hold_reason="")
        chance = self.rng.random()
        if chance < 0.10:
            self._hold(job, stop)
        elif chance < 0.17:
            self._escalate(job, start + (stop - start) / 2, stop)
        elif chance < 0.90:
            self._submit(job, stop)
        else:  # not done yet: back on the pile
            heapq.heappush(self._pile, replace(job, available_at=stop))

    def _keep_house(self, start: datetime, stop: datetime) -> None:
        """Fill the time between tasks; idle and training time is not billed."""
        kind = self.rng.choices(("work", "meeting", "training", "idle"), (70, 15, 8, 7))[0]
        self._enter(start, stop, "inbox_admin", None, kind, billable=kind in {"work", "meeting"})

    def _hold(self, job: Job, at: datetime) -> None:
        hold_id = f"hd-{job.task_id[3:]}-{self._events}"
        reason = self.rng.choice(HOLD_REASONS)
        self._tracker("task.held", at, self._about(job) | {"hold_id": hold_id, "reason": reason})
        back = at + timedelta(minutes=self.rng.randint(30, 1500))
        heapq.heappush(
            self._pile, replace(job, available_at=back, hold_id=hold_id, hold_reason=reason)
        )

    def _escalate(self, job: Job, at: datetime, stop: datetime) -> None:
        escalation = self._about(job) | {"escalation_id": f"es-{job.task_id[3:]}-{self._events}"}
        self._tracker(
            "escalation.raised",
            at,
            escalation
            | {"category": self.rng.choice(ESCALATIONS), "blocking": self.rng.random() < 0.5},
        )
        seen = _office_after(self.placement.firm, at, self.rng)
        solved = seen + timedelta(minutes=self.rng.randint(5, 90))
        needed = "needed" if self.rng.random() < 0.8 else "unnecessary"
        self._firm("escalation.acknowledged", seen, escalation)
        self._firm("escalation.resolved", solved, escalation | {"disposition": needed})
        heapq.heappush(self._pile, replace(job, available_at=max(solved, stop)))

    def _submit(self, job: Job, at: datetime) -> None:
        about = self._about(job)
        self._tracker("task.submitted", at, about | {"attempt": job.attempt})
        if self.rng.random() < 0.12:
            return  # the firm never comes to it
        reviewed = _office_after(self.placement.firm, at, self.rng)
        outcome = self.rng.choices(OUTCOMES, OUTCOME_WEIGHTS)[0]
        review: dict[str, Any] = {
            "attempt": job.attempt,
            "outcome": outcome,
            "reviewer_id": f"at-{self.placement.firm.firm_id}",
            "reviewer_role": "attorney",
            "review_mode": "attorney",
            "review_minutes": self.rng.randint(1, 15),
        }
        if outcome != "accepted":
            review["correction_minutes"] = self.rng.randint(2, 30)
        self._firm("review.completed", reviewed, about | review)
        if outcome == "changes_requested":
            heapq.heappush(
                self._pile, replace(job, available_at=reviewed, attempt=job.attempt + 1, seen=False)
            )
        elif outcome == "accepted" and self.rng.random() < 0.03:
            self._find_defect(job, reviewed)

    def _find_defect(self, job: Job, accepted: datetime) -> None:
        found = _office_after(
            self.placement.firm, accepted + timedelta(days=self.rng.randint(1, 6)), self.rng
        )
        about = self._about(job)
        self._firm(
            "defect.reported",
            found,
            about
            | {
                "defect_id": f"df-{job.task_id[3:]}",
                "attempt": job.attempt,
                "severity": self.rng.choices(("minor", "major", "critical"), (70, 25, 5))[0],
                "category": self.rng.choice(
                    ("formatting", "wrong_content", "wrong_file", "missed_deadline")
                ),
                "found_stage": "post_acceptance",
            },
        )
        if self.rng.random() < 0.4:
            again = found + timedelta(seconds=60)
            self._firm("task.reopened", again, about | {"reason": "defect_found"})
            heapq.heappush(
                self._pile, replace(job, available_at=again, attempt=job.attempt + 1, seen=False)
            )

    # Time

    def _enter(
        self,
        start: datetime,
        stop: datetime,
        task_type: str,
        job: Job | None,
        kind: str,
        *,
        billable: bool,
    ) -> None:
        """Record a stretch of time: as a tool's row, a timer pair, or a whole entry."""
        if self.placement.tool != "tracker":
            self.tool_rows.append(ToolRow(self.placement, start, stop, task_type, billable))
            return
        self._entries += 1
        entry: dict[str, Any] = self._ids() | {
            "entry_id": f"en-{self.placement.placement_id[3:]}-{self._entries:05}",
            "task_type": task_type,
        }
        if job is not None:
            entry |= {"task_id": job.task_id, "matter_ref": job.matter_ref}
        whole = entry | {
            "started_at": self._local(start).isoformat(),
            "ended_at": self._local(stop).isoformat(),
            "kind": kind,
            "billable": billable,
        }
        chance = self.rng.random()
        if kind == "work" and chance < 0.65:
            self._tracker("timer.started", start, entry | {"billable": billable})
            self._tracker("timer.stopped", stop, entry | {"billable": billable})
        else:
            # One entry in a hundred reaches us weeks late, when its month may be closed.
            late = timedelta(days=self.rng.randint(12, 25)) if chance > 0.99 else timedelta(0)
            self._tracker("time.recorded", stop, whole, late=late)
        self._have_second_thoughts(whole, stop)

    def _have_second_thoughts(self, whole: dict[str, Any], stop: datetime) -> None:
        """Amend, void or take back a few entries."""
        chance = self.rng.random()
        if chance < 0.03:
            earlier = datetime.fromisoformat(whole["ended_at"]) - timedelta(minutes=5)
            amended = whole | {
                "ended_at": earlier.isoformat(),
                "revision": 1,
                "reason": "forgot_to_stop",
            }
            self._tracker("time.amended", stop + timedelta(minutes=9), amended)
        elif chance < 0.035:
            void = self._ids() | {
                "entry_id": whole["entry_id"],
                "revision": 1,
                "reason": "wrong_placement",
            }
            self._tracker("time.voided", stop + timedelta(minutes=12), void)
        elif chance < 0.045:
            mistake = whole | {"entry_id": f"{whole['entry_id']}-x"}
            event_id = self._tracker("time.recorded", stop + timedelta(seconds=5), mistake)
            self._tracker(
                "event.retracted",
                stop + timedelta(minutes=3),
                self._ids()
                | {
                    "target_source": self.placement.source,
                    "target_id": event_id,
                    "entry_id": mistake["entry_id"],
                    "reason": "entered_twice",
                },
            )

    def _forget_timer(self, day: date) -> None:
        """Leave a timer running at the end of the span: an open entry, no seconds yet."""
        self._entries += 1
        self._tracker(
            "timer.started",
            datetime.combine(day, time(12), self.placement.zone).astimezone(UTC),
            self._ids()
            | {
                "entry_id": f"en-{self.placement.placement_id[3:]}-{self._entries:05}",
                "task_type": "inbox_admin",
            },
        )

    # Sending

    def _ids(self) -> dict[str, Any]:
        return {
            "firm_id": self.placement.firm.firm_id,
            "placement_id": self.placement.placement_id,
        }

    def _about(self, job: Job) -> dict[str, Any]:
        return self._ids() | {"task_id": job.task_id}

    def _local(self, at: datetime) -> datetime:
        return at.astimezone(self.placement.zone)

    def _tracker(
        self, name: str, at: datetime, data: dict[str, Any], *, late: timedelta = timedelta(0)
    ) -> str:
        """Send an event from the assistant's tracker, at once or when it is back on line."""
        delay = timedelta(seconds=self.rng.randint(0, 20)) + late
        if self._offline:
            delay += timedelta(hours=self.rng.randint(6, 30))
        return self._send(
            self.placement.principal, self.placement.source, name, self._local(at), data, delay
        )

    def _firm(self, name: str, at: datetime, data: dict[str, Any]) -> str:
        firm = self.placement.firm
        delay = timedelta(seconds=self.rng.randint(0, 5))
        local = at.astimezone(ZoneInfo(firm.zone))
        return self._send(firm.principal, f"desk/{firm.firm_id}", name, local, data, delay)

    def _send(
        self,
        principal: str,
        source: str,
        name: str,
        at: datetime,
        data: dict[str, Any],
        delay: timedelta,
    ) -> str:
        self._events += 1
        event_id = f"ev-{self.placement.placement_id[3:]}-{self._events:06}"
        body = _envelope(source, event_id, f"turnsheet.{name}.v1", at, data)
        self.sent.append(Sent(at.astimezone(UTC) + delay, principal, body))
        if self.rng.random() < 0.02:  # no answer came, so it is sent again
            again = timedelta(seconds=self.rng.randint(5, 90_000))
            self.sent.append(Sent(at.astimezone(UTC) + delay + again, principal, body))
        return event_id


def _office_moment(firm: Firm, day: date, rng: Random) -> datetime:
    """Pick a moment of the firm's office day."""
    opens = datetime.combine(day, time(OFFICE_START_HOUR), ZoneInfo(firm.zone)).astimezone(UTC)
    return opens + timedelta(seconds=rng.randint(0, 7 * 3600))


def _office_after(firm: Firm, at: datetime, rng: Random) -> datetime:
    """Pick the moment at which the firm comes to something that is there since `at`."""
    local = at.astimezone(ZoneInfo(firm.zone))
    moment = at + timedelta(minutes=rng.randint(5, 180))
    closes = local.replace(hour=16, minute=45, second=0, microsecond=0)
    opens = local.replace(hour=OFFICE_START_HOUR, minute=0, second=0, microsecond=0)
    if local.weekday() < 5 and opens <= local and moment <= closes.astimezone(UTC):
        return moment
    day = (
        local.date() if local.weekday() < 5 and local < opens else local.date() + timedelta(days=1)
    )
    while day.weekday() >= 5:
        day += timedelta(days=1)
    return _office_moment(firm, day, rng)


def by_principal(events: Iterable[Sent]) -> Iterator[tuple[str, list[Sent]]]:
    """Group events by who sends them, each sender's in the order of sending."""
    groups: dict[str, list[Sent]] = {}
    for sent in events:
        groups.setdefault(sent.principal, []).append(sent)
    yield from sorted(groups.items())
