"""Holding partitions: whatever fails, one is left alone for a moment and then placed again.

What only a person can mend is an alarm: it stands in the health of the process until it is over.
"""

from collections.abc import Mapping
from typing import Any

import structlog
from aiokafka import TopicPartition
from prometheus_client import Counter, Gauge

from services.log_health import Health

HOLD_SECONDS = 0.25
HOLD_SECONDS_MAX = 5.0

_LABELS = ["house", "topic", "partition"]
LAG = Gauge("turnsheet_log_lag_records", "Records not yet applied.", _LABELS)
STOPPED = Gauge("turnsheet_log_stopped", "1 while a partition is stopped by an alarm.", _LABELS)
HELD = Counter("turnsheet_log_held_total", "Partitions held, by reason.", ["house", "reason"])
log = structlog.get_logger()


class Holds:
    """The partitions of one client that are held: until when, how often, and with what alarm."""

    def __init__(self, house: str, health: Health) -> None:
        self._house = house
        self._health = health
        self._until: dict[TopicPartition, float] = {}
        self._counts: dict[TopicPartition, int] = {}
        self._gaps: dict[TopicPartition, int] = {}

    def is_held(self, place: TopicPartition, now: float) -> bool:
        """Say whether a partition is still left alone."""
        return self._until.get(place, 0) > now

    def hold(
        self,
        place: TopicPartition,
        reason: str,
        now: float,
        alarm: str | None = None,
        *,
        cause: BaseException | None = None,
    ) -> None:
        """Leave a partition alone for a while that grows from time to time."""
        count = self._counts[place] = self._counts.get(place, 0) + 1
        self._until[place] = now + min(HOLD_SECONDS * 2 ** min(count - 1, 10), HOLD_SECONDS_MAX)
        HELD.labels(self._house, reason).inc()
        if alarm is not None and self._health.alarms.get(place) != alarm:
            self._health.alarms[place] = alarm
            STOPPED.labels(self._house, *place).set(1)
            log.error("partition_stopped", house=self._house, reason=alarm, **named(place))
        elif alarm is None and count in {1, 10, 100}:
            log.warning(
                "partition_held",
                house=self._house,
                reason=reason,
                error=None if cause is None else type(cause).__name__,
                **named(place),
            )

    def gap_alarm(self, place: TopicPartition, wanted: int, delivered: int) -> str | None:
        """Give the words of a gap that was seen twice: once may be what a seek left behind."""
        seen, self._gaps[place] = self._gaps.get(place), wanted
        return f"offset {wanted} is wanted, {delivered} is delivered" if seen == wanted else None

    def went_on(self, place: TopicPartition) -> None:
        """Begin to count anew: something was applied."""
        self._counts.pop(place, None)

    def end_alarm(self, place: TopicPartition) -> None:
        """Say that a partition that was stopped goes on."""
        if self._health.alarms.pop(place, None) is not None:
            log.warning("partition_goes_on", house=self._house, **named(place))
            STOPPED.labels(self._house, *place).set(0)

    def forget(self, place: TopicPartition) -> None:
        """Hold a partition no longer."""
        self._until.pop(place, None)

    def release(self, place: TopicPartition) -> None:
        """Leave a partition, its lag and its alarm to its next owner."""
        self.forget(place)
        self._health.alarms.pop(place, None)
        for gauge in (LAG, STOPPED):
            gauge.remove(self._house, *place)

    def release_others(self, assigned: set[TopicPartition]) -> None:
        """Leave what an earlier client of this process had alarms of, and nobody assigned anew."""
        for place in tuple(self._health.alarms):
            if place.partition >= 0 and place not in assigned:
                self.release(place)


def named(place: TopicPartition) -> Mapping[str, Any]:
    """Name a partition in the log."""
    return {"topic": place.topic, "partition": place.partition}
