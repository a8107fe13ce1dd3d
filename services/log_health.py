"""What a readiness check may ask of whoever reads the log."""

from dataclasses import dataclass, field
from typing import Final

from aiokafka import TopicPartition

SILENT_SECONDS: Final = 20.0
NO_GROUP: Final = TopicPartition("", -1)  # the alarm that keeps us from every partition


@dataclass
class Health:
    """What a readiness check may ask of a reader."""

    alarms: dict[TopicPartition, str] = field(default_factory=dict)
    read_at: float | None = None  # when all that is ours was last being read, in the loop's time

    def alarm(self) -> str | None:
        """Say what only a person can mend; None when nothing is stopped."""
        return "; ".join(sorted(set(self.alarms.values()))) or None

    def problem(self, now: float) -> str | None:
        """Say why the reader is not ready at `now`, in the loop's time; None when it is."""
        if (alarm := self.alarm()) is not None:
            return alarm
        if self.read_at is None or now - self.read_at > SILENT_SECONDS:
            return "the log is not reached"
        return None
