"""Laws of every history: a key's lines are its whole, buckets add up, order changes nothing."""

import random
from collections import Counter, defaultdict
from dataclasses import replace
from datetime import date, timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.money import line_cents
from schemas.periods import Month
from services.billing.books import Explanation, LineKey
from services.billing.drafts import draft
from services.billing.explain import explain
from services.billing.invoices import (
    content,
    document,
    invoice_csv,
    issued_lines,
    read_document,
    verify_chain,
)
from tests.billing.story import (
    Story,
    a_placement,
    a_rate,
    at,
    terms,
    timeline,
)

MONTHS = ("2026-07", "2026-08", "2026-09", "2026-10")
ENTRIES = [f"e-{number}" for number in range(6)]
PLACEMENTS = ["p-1", "p-2", "p-3"]
CARD = (
    a_rate("r-PH", "9.35", "PH", valid_to=date(2026, 8, 10)),
    a_rate("r-PH-2", "9.95", "PH", valid_from=date(2026, 8, 10)),
    a_rate("r-MX", "14.125", "MX"),
    a_rate("r-trial", "0", "MX", phase="trial"),
)


def a_story(policy):
    """Two placements of one assistant, one of another: all can overlap; p-3 moves and ends."""
    moving = a_placement(
        "p-3",
        "a-2",
        countries=timeline("PH", ("2026-08-15", "MX")),
        phases=timeline("trial", ("2026-07-10", "active")),
        ended_at=at("2026-09-20T13:00-04:00"),
    )
    return Story(
        placements={
            "p-1": a_placement("p-1", "a-1", "PH"),
            "p-2": a_placement("p-2", "a-1", "MX"),
            "p-3": moving,
        },
        card=CARD,
        terms=(policy,),
    )


SECONDS = st.sampled_from([0, 1, 59, 360, 1_210, 3_600, 5_401, 14_400, 30_000, 57_600, 60_000])
ONE = st.sampled_from(ENTRIES)


def instants(months):
    """Instants on some days of some months, most of them where something begins or ends."""
    days = st.integers(0, months - 1).flatmap(
        lambda number: st.sampled_from(
            [at(f"{MONTHS[number]}-{day}T00:07:13-04:00") for day in ("01", "09", "15", "30")]
        )
    )
    hours = st.integers(0, 30).map(lambda hour: timedelta(hours=hour))
    return st.builds(lambda day, hour: day + hour, days, hours)


def says(months):
    """A recording or, of an entry already told, an amendment."""
    told = st.fixed_dictionaries(
        {
            "starts": instants(months),
            "seconds": SECONDS,
            "duration_only": st.booleans(),
            "billable": st.sampled_from([True, True, True, False]),
            "kind": st.sampled_from(["work", "work", "training"]),
            "placement_id": st.sampled_from([*PLACEMENTS * 2, "p-unknown"]),
        }
    )
    return st.tuples(st.just("say"), ONE, told)


def changes(months):
    """What else can happen to entries and to what they are measured by."""
    return st.one_of(
        says(months),
        says(months),
        st.tuples(st.sampled_from(["void", "retract"]), ONE),
        st.tuples(st.sampled_from(["void", "retract", "fail", "reuse"]), ONE),
        st.tuples(st.just("open"), ONE, instants(months)),
        st.tuples(st.just("move_end"), instants(months)),
        st.sampled_from([("correct_card",), ("change_phase",), ("approve_all",), ("approve_all",)]),
    )


@st.composite
def histories(draw):
    """Steps of two to four months: each has work, then changes, and is settled in its turn."""
    steps = []
    for months in range(1, draw(st.integers(2, 4)) + 1):
        steps += draw(st.lists(says(months), min_size=3, max_size=8))
        steps += draw(st.sampled_from([[], [("approve_all",)]]))
        steps += draw(st.lists(changes(months), min_size=1, max_size=5))
        steps.append(("settle",))
    return steps


STEPS = histories()
POLICIES = st.builds(
    terms,
    approval=st.sampled_from(["none", "required"]),
    minutes=st.sampled_from([0, 6, 15]),
    direction=st.sampled_from(["up", "nearest", "down"]),
    excluded_kinds=st.sampled_from([frozenset(), frozenset({"training"})]),
    excluded_phases=st.sampled_from([frozenset(), frozenset({"trial"})]),
)
MANY = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


class Told:
    """A history told step by step; `settled` sees each month as it is settled."""

    def __init__(self, policy):
        self.story = a_story(policy)
        self.revisions = defaultdict(int)
        self.placed = {}
        self.months = list(MONTHS)

    def take(self, step):
        getattr(self, f"_{step[0]}")(*step[1:])

    def _say(self, entry_id, told):
        told = dict(told)
        placement_id = self.placed.setdefault(entry_id, told.pop("placement_id"))
        told.pop("placement_id", None)
        starts, seconds = told.pop("starts"), told.pop("seconds")
        if told.pop("duration_only"):
            work = f"{starts.date()} {seconds // 60}"
        else:
            work = f"{starts.isoformat()}/{(starts + timedelta(seconds=seconds)).isoformat()}"
        told["placement_id"] = placement_id
        if not self.story.facts.get(entry_id):
            self.story.record(entry_id, work, **told)
        else:
            self.revisions[entry_id] += 1
            self.story.amend(entry_id, self.revisions[entry_id], work, **told)

    def _void(self, entry_id):
        if entry_id in self.story.facts:
            self.revisions[entry_id] += 1
            placement_id = self.placed[entry_id]
            self.story.void(entry_id, self.revisions[entry_id], placement_id=placement_id)

    def _retract(self, entry_id):
        """Take back the newest fact that is not taken back: an older version stands again."""
        facts = self.story.facts.get(entry_id, [])
        taken = {fact.data.target_id for fact in facts if hasattr(fact.data, "target_id")}
        left = [f for f in facts if not hasattr(f.data, "target_id") and f.id not in taken]
        if left:
            self.story.retract(entry_id, left[-1].id)

    def _open(self, entry_id, starts):
        if entry_id not in self.placed:
            self.placed[entry_id] = "p-1"
            self.story.start(entry_id, starts.isoformat())

    def _approve_all(self):
        known = [e for e in self.story.facts if self.story.version(e)]
        self.story.approve(*known)

    def _fail(self, entry_id):
        self.story.failed ^= {entry_id}

    def _reuse(self, entry_id):
        self.story.id_reused ^= {entry_id}

    def _correct_card(self):
        self.story.card = tuple(
            replace(rate, rate_id=rate.rate_id + "'", rate_e4=rate.rate_e4 + 5_000)
            for rate in self.story.card
        )

    def _move_end(self, ended_at):
        self.story.placements["p-3"] = replace(self.story.placements["p-3"], ended_at=ended_at)

    def _change_phase(self):
        moved = replace(self.story.placements["p-2"], phases=timeline("trial"))
        self.story.placements["p-2"] = moved

    def _settle(self):
        if self.months:
            self.story.settle(self.months.pop(0))


@MANY
@given(POLICIES, STEPS)
def test_after_every_step_buckets_add_up_and_are_the_seconds_worked(policy, steps):
    told = Told(policy)
    for step in steps:
        told.take(step)
        period = told.months[0] if told.months else MONTHS[-1]
        books = told.story.books(period)
        made = draft(books)
        worked: Counter[Month] = Counter()
        for book in books.entries:
            for segment in book.segments:
                if Month.of(segment.service_date) <= books.period:
                    worked[Month.of(segment.service_date)] += segment.seconds
        for found in (made.buckets, made.buckets_if_issued):
            assert all(b.unexplained == 0 for b in found)
            assert {b.service_month: b.worked for b in found if b.worked} == {
                m: s for m, s in worked.items() if s
            }
        listed: Counter[tuple[Month, str]] = Counter()
        for row in made.held:
            listed[row.service_month, row.reason] += row.seconds
        counted = {(b.service_month, r): s for b in made.buckets for r, s in b.held.items()}
        awaiting = {place for place in counted if place[1] == "awaiting_issue"}
        assert {place: s for place, s in listed.items() if s} == {
            place: s for place, s in counted.items() if place not in awaiting
        }
        assert all(
            seconds >= 0
            for bucket in (*made.buckets, *made.buckets_if_issued)
            for reason, seconds in (*bucket.held.items(), ("", bucket.billed))
            if reason != "pending_change"
        )


@MANY
@given(POLICIES, STEPS)
def test_right_after_its_issue_a_month_has_nothing_to_add(policy, steps):
    told = Told(policy)
    for step in [*steps, ("settle",), ("settle",)]:
        if step != ("settle",) or not told.months:
            told.take(step)
            continue
        period = told.months[0]
        before = told.story.draft(period)
        told.take(step)
        again = told.story.draft(period)
        assert again.buckets == before.buckets_if_issued
        if before.outcome == "carried":
            assert (again.lines, again.total_minor) == (before.lines, before.total_minor)
            continue
        assert again.lines == ()
        assert all("awaiting_issue" not in bucket.held for bucket in again.buckets)


@MANY
@given(POLICIES, STEPS)
def test_the_lines_of_a_key_sum_to_its_rounded_whole_and_every_line_explains_itself(policy, steps):
    told = Told(policy)
    for step in [*steps, ("approve_all",), ("settle",), ("settle",)]:
        told.take(step)
    documents = told.story.documents
    seconds: Counter[LineKey] = Counter()
    rounded: Counter[LineKey] = Counter()
    amount: Counter[LineKey] = Counter()
    rates = {}
    for issued in documents:
        assert read_document(issued.body) == issued
        for one in issued_lines(issued):
            carried = one.line.difference
            seconds[one.line.key] += carried.seconds
            rounded[one.line.key] += carried.rounded_seconds
            amount[one.line.key] += carried.amount_minor
            rates[one.line.key] = one.line.stamp.rate_e4
            found = explain(issued, one.origin.line_number, documents)
            assert isinstance(found, Explanation), found
            assert found.old_proved
    assert verify_chain(documents) == ()
    assert dict(amount) == {key: line_cents(rounded[key], rates[key]) for key in rounded}
    assert all(whole >= 0 for whole in seconds.values())


@MANY
@given(st.data())
def test_what_was_issued_is_what_stands_when_nothing_is_held(data):
    """One placement an entry, no approval asked: the books must come to the entries' seconds."""
    told = Told(terms())
    story = told.story = Story(card=(a_rate("r-1", "9.35"),), placements={})
    for number, entry_id in enumerate(ENTRIES):
        told.placed[entry_id] = f"p-{entry_id}"
        story.placements[f"p-{entry_id}"] = a_placement(f"p-{entry_id}", f"a-{number}")
    for months in range(1, 5):
        for _, entry_id, said in data.draw(st.lists(says(months), min_size=2, max_size=8)):
            calm = {"billable": True, "kind": "work", "seconds": min(said["seconds"], 57_600)}
            told.take(("say", entry_id, {**said, **calm}))
        for entry_id in data.draw(st.lists(ONE, max_size=1)):
            if entry_id in story.facts:
                told.take(("void", entry_id))
        told.take(("settle",))
    last = story.draft(MONTHS[-1])
    billed: Counter[str] = Counter()
    # What is carried, because its sum is negative, is on its way.
    for line in [*last.lines, *(one.line for one in story.books(MONTHS[-1]).issued)]:
        for row in line.rows:
            billed[row.entry_id] += row.seconds
    stands = {
        book.entry_id: sum(
            segment.seconds
            for segment in book.segments
            if Month.of(segment.service_date) <= last.period
        )
        for book in story.books(MONTHS[-1]).entries
    }
    assert {e: s for e, s in billed.items() if s} == {e: s for e, s in stands.items() if s}


@MANY
@given(POLICIES, STEPS, st.randoms(use_true_random=False))
def test_the_order_in_which_books_are_gathered_changes_no_byte(policy, steps, shuffler):
    told = Told(policy)
    for step in steps:
        told.take(step)
    period = told.months[0] if told.months else MONTHS[-1]
    books = told.story.books(period)
    shuffled = replace(
        books,
        entries=shuffle(books.entries, shuffler),
        issued=shuffle(books.issued, shuffler),
        today=replace(books.today, card=shuffle(books.today.card, shuffler)),
        settled=dict(shuffle(books.settled.items(), shuffler)),
    )
    made, again = draft(books), draft(shuffled)
    assert replace(made, issued_digest="") == replace(again, issued_digest="")
    assert made.issued_digest == again.issued_digest
    if made.outcome == "document":
        assert frozen(made).body == frozen(again).body
        assert invoice_csv(frozen(made)) == invoice_csv(frozen(again))
        assert tuple(one.line for one in issued_lines(frozen(made))) == made.lines


def shuffle(items, shuffler: random.Random):
    mixed = list(items)
    shuffler.shuffle(mixed)
    return tuple(mixed)


def frozen(made):
    return document(
        content(made),
        number="INV-2026-0001",
        invoice_date=date(2026, 11, 1),
        series="INV-2026",
        predecessor=None,
    )
