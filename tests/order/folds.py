"""Histories by chance, and the same facts in other orders, doubled and split: equal states.

`.venv/bin/python -m tests.order.folds --seed 17` replays one history; `--histories 50000` many.
"""

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from random import Random
from typing import Any

from schemas.directory import Directory, fold_assistant, fold_firm, fold_placement
from schemas.events import EntityKey
from schemas.facts import Fact
from services.billing.consumer import fold as billing_fold
from services.metrics.consumer import fold as metrics_fold
from tests.metrics.stories import WORDS
from tests.schemas.histories import (
    ADMIN,
    DAY_ONE,
    ENTRY,
    FIRM,
    MONDAY_TO_FRIDAY,
    OTHER_TRACKER,
    PLACEMENT,
    SOURCE,
    TASK,
    TASK_TYPES,
    TRACKER,
    ZONE,
    History,
    firm_facts,
    placement_facts,
)

ARRANGEMENTS = 20
BATCHES_MAX = 4
DIRECTORY_KINDS = ("firm", "placement", "assistant")
States = Mapping[EntityKey, Any]


def history(rng: Random) -> list[Fact]:
    """Tell a firm, two placements, an assistant, an entry, a task and an escalation, by chance."""
    told = History()
    for _ in range(rng.randint(0, 2)):
        zone = rng.choice((ZONE, "America/Los_Angeles"))
        firm_facts(told, zone, time=_instant(rng), **_envelope(rng))
    for placement_id in (PLACEMENT, PLACEMENT, "plc-2")[: rng.randint(0, 3)]:
        about = {"assistant_id": rng.choice(("asst-1", "asst-1", "asst-2")), **_envelope(rng)}
        start = _instant(rng).isoformat()
        placement_facts(told, start, placement_id=placement_id, time=_instant(rng), **about)
    for _ in range(rng.randint(0, 5)):
        name, data = _directory_change(rng)
        told.add(name, _instant(rng), **_envelope(rng), **data)
    for _ in range(rng.randint(1, 8)):
        name, data = _entry_event(rng)
        told.add(name, _instant(rng), **_envelope(rng), **data)
    for _ in range(rng.randint(1, 8)):
        name, data = _task_event(rng)
        told.add(name, _instant(rng), **_envelope(rng), **data)
    work = [fact for fact in told.facts if fact.entity.kind not in DIRECTORY_KINDS]
    for target in rng.sample(work, min(len(work), rng.randint(0, 3))):
        aimed = replace(target, id=rng.choice((target.id, target.id, "never-sent")))
        envelope = _envelope(rng) | {"event_id": rng.choice(("r1", "r2", aimed.id))}
        told.retract(aimed, _instant(rng), **envelope)
    return told.facts


def _instant(rng: Random) -> Any:
    return DAY_ONE + timedelta(minutes=30 * rng.randint(0, 40))  # ties are likely


def _day(rng: Random) -> date:
    return date(2026, 6, 20) + timedelta(days=rng.randint(0, 20))


def _envelope(rng: Random) -> dict[str, Any]:
    return {
        "event_id": rng.choice("abcdef"),  # so are spent ids
        "event_source": rng.choice((SOURCE, "/connections/toggl", "/trackers/asst-2")),
        "principal": rng.choice((TRACKER, OTHER_TRACKER, ADMIN)),
        "sequence": rng.choice((None, 0, 1, 2)),
        "received_at": _instant(rng),
    }


def _directory_change(rng: Random) -> tuple[str, dict[str, Any]]:
    since = {"effective_date": _day(rng)}
    first = _day(rng)
    absence = {"from_date": first, "until_date": first + timedelta(2)}
    role = rng.choice(("paralegal", "legal_assistant"))
    phase = rng.choice(("trial", "shadow", "active"))
    return rng.choice(
        (
            ("firm.changed", since | {"country": rng.choice(("US", "CA"))}),
            ("firm.calendar_changed", since | {"zone": ZONE, "slots": MONDAY_TO_FRIDAY}),
            ("placement.country_changed", since | {"country": rng.choice(("PH", "MX", "CO"))}),
            ("placement.role_changed", since | {"role": role}),
            ("placement.phase_changed", since | {"phase": phase}),
            ("placement.source_changed", since | {"source": rng.choice(("/trackers", SOURCE))}),
            ("placement.ended", {"ended_at": _instant(rng)}),
            ("placement.absence_recorded", absence),
            ("assistant.registered", {"assistant_id": "asst-1", "home_country": "PH"}),
            ("assistant.changed", since | {"assistant_id": "asst-1", "home_country": "MX"}),
        )
    )  # fmt: skip


def _entry_event(rng: Random) -> tuple[str, dict[str, Any]]:
    name = rng.choice(
        ("timer.started", "timer.stopped", "time.recorded", "time.amended", "time.voided")
    )
    place = {"entry_id": ENTRY, "placement_id": rng.choice((PLACEMENT, PLACEMENT, "plc-2"))}
    revision = {"revision": rng.randint(1, 3), "reason": "correction"}
    if name == "time.voided":
        return name, place | revision
    work = {"task_type": rng.choice(TASK_TYPES[:3]), "billable": rng.random() < 0.5}
    if name.startswith("timer"):
        return name, place | work
    work["kind"] = rng.choice(("work", "rework"))
    if rng.random() < 0.5:
        work |= {"work_date": _day(rng), "duration_seconds": rng.randint(0, 9_000)}
    else:
        work |= {"started_at": _instant(rng), "ended_at": _instant(rng)}
    return name, place | work | (revision if name == "time.amended" else {})


def _task_event(rng: Random) -> tuple[str, dict[str, Any]]:
    """About a task, or an escalation about none."""
    word = rng.choice(tuple(WORDS))
    name, data = WORDS[word]
    more: dict[str, Any] = {"placement_id": rng.choice((PLACEMENT, PLACEMENT, "plc-2"))}
    if word in {"submitted", "reviewed", "timeout"}:
        more["attempt"] = rng.randint(1, 2)
    if word == "reviewed":
        more["outcome"] = rng.choice(("accepted", "changes_requested", "rejected"))
    if word in {"held", "resumed"}:
        more["hold_id"] = rng.choice("ab")
    if name.startswith("escalation"):
        more["escalation_id"] = rng.choice("xy")
    if not name.startswith("escalation") or rng.random() < 0.5:
        more["task_id"] = TASK
    return name, data | more


def arranged(facts: Sequence[Fact], rng: Random) -> list[list[Fact]]:
    """Lay the same facts out as another log may: any order, copies, partitions, and batches."""
    copies = [
        replace(fact, received_at=fact.received_at + timedelta(days=rng.randint(0, 60)))
        for fact in rng.choices(facts, k=rng.randint(0, 6))
    ]
    log = rng.sample([*facts, *copies], len(facts) + len(copies))
    laid = [
        replace(fact, position=fact.position._replace(partition=rng.randint(0, 3), offset=offset))
        for offset, fact in enumerate(log)
    ]
    cuts = sorted(rng.sample(range(1, len(laid) + 1), min(len(laid), BATCHES_MAX - 1)))
    ends = [*cuts[: rng.randint(0, len(cuts))], len(laid)]
    return [laid[since:until] for since, until in zip([0, *ends], ends, strict=False)]


def fold_batches(batches: Iterable[Sequence[Fact]]) -> States:
    """Fold as a house does: what a batch touches, and all work when its directory changes."""
    known: dict[EntityKey, list[Fact]] = {}
    states: dict[EntityKey, Any] = {}
    for batch in batches:
        for fact in batch:
            known.setdefault(fact.entity, []).append(fact)
        touched = {fact.entity for fact in batch}
        if any(key.kind in DIRECTORY_KINDS for key in touched):
            touched = set(known)
        for key in touched & {k for k in known if k.kind in DIRECTORY_KINDS}:
            states[key] = _FOLDS[key.kind](known[key])
        directory = Directory(
            states.get(EntityKey(FIRM, "firm", FIRM)),
            {k.entity_id: p for k, p in states.items() if k.kind == "placement" and p is not None},
        )
        for key in touched:
            if key.kind not in DIRECTORY_KINDS:
                states[key] = _work(key, known[key], directory)
    return states


_FOLDS = {"firm": fold_firm, "placement": fold_placement, "assistant": fold_assistant}


def _work(key: EntityKey, facts: Sequence[Fact], directory: Directory) -> Any:
    if key.kind == "entry":
        return metrics_fold(key, facts, directory), billing_fold(key, facts, directory)
    return metrics_fold(key, facts, directory)


def broken(seed: int, arrangements: int = ARRANGEMENTS) -> str | None:
    """Fold one history in many arrangements; say which gave another state, None when none did."""
    rng = Random(seed)
    facts = history(rng)
    expected = fold_batches([facts])
    for number in range(arrangements):
        states = fold_batches(arranged(facts, rng))
        if states != expected:
            other = sorted(k for k in expected if states.get(k) != expected[k])
            again = f".venv/bin/python -m tests.order.folds --seed {seed}"
            return f"arrangement {number}: {other}; replay: {again}"
    return None


def main() -> int:
    """Try histories; the first that breaks is told and ends it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--histories", type=int, default=1)
    parser.add_argument("--arrangements", type=int, default=ARRANGEMENTS)
    told = parser.parse_args()
    for seed in range(told.seed, told.seed + told.histories):
        if (found := broken(seed, told.arrangements)) is not None:
            sys.stdout.write(f"{found}\n")
            return 1
        if (seed - told.seed + 1) % 1000 == 0:
            sys.stdout.write(f"{seed - told.seed + 1} histories, all equal\n")
    sys.stdout.write(f"{told.histories} histories x {told.arrangements}: equal states\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
