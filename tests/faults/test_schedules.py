"""Schedules: whatever dies, stands still or is cut off, what was acknowledged has one effect."""

import pytest

from tests.faults.driver import play_all
from tests.faults.failpoints import places
from tests.faults.schedules import crashes, schedule

GROUPS = 4
PAUSES = (
    ("producer.confirmed", "stop"),
    ("run.reported", "raise"),
    ("approval.saved", "raise"),
    ("fold.states_saved", "stop"),
)
SERVERS = (2000, 2001, 2014, 2018, 3010)
LOST = ("producer.filled", "kafka", "lose")  # a batch is sent to a broker that dies with it

pytestmark = pytest.mark.timeout(400)  # many worlds, one after another, on shared cores


def judged(outcomes):
    """Fail with the stories of those that went wrong, each with the command that plays it again."""
    wrong = [outcome.report() for outcome in outcomes if not outcome.went_well]
    assert wrong == [], "\n\n".join(wrong)


@pytest.mark.parametrize("group", range(GROUPS))
async def test_a_crash_at_any_failpoint_loses_and_doubles_nothing(group):
    outcomes = await play_all(crashes()[group::GROUPS], at_once=3)
    judged(outcomes)
    unharmed = [o.schedule.describe() for o in outcomes if "kill" not in o.happened or o.missed]
    assert unharmed == [], "nobody came by"


async def test_whoever_stood_still_or_lost_its_connection_changes_nothing_twice():
    outcomes = await play_all([interruption(*wanted) for wanted in PAUSES], at_once=2)
    judged(outcomes)
    assert [o.schedule.describe() for o in outcomes if o.missed] == [], "nobody came by"


async def test_broken_servers_and_links_lose_and_double_nothing():
    lost = next(seed for seed in range(6000, 6500) if behind(seed) == LOST)
    outcomes = await play_all([*SERVERS, lost], at_once=1)
    judged(outcomes)
    assert "behind" in outcomes[-1].happened


def interruption(failpoint, action):
    """Find a seed that interrupts somebody at a failpoint in a certain way."""
    for seed in range(1000, 2000):
        deeds = [d for lives in schedule(seed).lives.values() for life in lives for d in life]
        if {(deed.failpoint, deed.action, deed.hit) for deed in deeds} == {(failpoint, action, 1)}:
            return seed
    raise LookupError(failpoint, action)


def behind(seed):
    """Say who stands still in a schedule, and what becomes of which server behind it."""
    plan = schedule(seed)
    (failpoint,) = plan.failpoints
    assert plan.behind is not None
    return failpoint, plan.behind.whom, plan.behind.how


def test_schedules_are_functions_of_their_seed():
    seeds = [
        *crashes(),
        *range(1000, 1100),
        *range(2000, 2100),
        *range(3000, 3100),
        *range(6000, 6100),
    ]
    assert [schedule(seed) for seed in seeds] == [schedule(seed) for seed in seeds]
    killed = {name for seed in crashes() for name in schedule(seed).failpoints}
    assert killed == {name for name, _ in places()}
    assert len({schedule(seed).describe() for seed in seeds}) > 300
