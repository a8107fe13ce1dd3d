"""Sendings: a file's lines cut into requests, and what became of each line."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from schemas.envelope import CODES, EVENT_BYTES_MAX

BATCH_EVENTS = 1_000
BATCH_BYTES = 2 * 1024 * 1024


@dataclass(slots=True)
class Batch:
    """Some lines on their way: the body, the number of each of its lines, and those left out."""

    lines: list[bytes] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    too_large: list[int] = field(default_factory=list)
    size_bytes: int = 0

    @property
    def body(self) -> bytes:
        """The request's body, one event a line."""
        return b"\n".join(self.lines)


def cut_lines(lines: Iterable[bytes]) -> Iterator[Batch]:
    """Cut a file's lines into batches; blank ones pass, and one that no event can be stays here."""
    batch = Batch()
    for number, line in enumerate(lines, 1):
        event = line.rstrip(b"\r\n")
        if len(batch.lines) == BATCH_EVENTS or batch.size_bytes + len(line) > BATCH_BYTES:
            yield batch
            batch = Batch()
        batch.size_bytes += len(line)
        if len(event) > EVENT_BYTES_MAX:
            batch.too_large.append(number)
        elif event.strip():
            batch.lines.append(event)
            batch.numbers.append(number)
    if batch.size_bytes:
        yield batch


@dataclass(slots=True)
class Sending:
    """What became of a file."""

    accepted: int = 0
    rejections: list[dict[str, Any]] = field(default_factory=list)

    def take(self, batch: Batch, status: int, answer: dict[str, Any]) -> bool:
        """Note the answer to a batch; False when the service took the request for no events."""
        if status == 202:
            results = answer["results"]
        elif answer.get("code") == "none_accepted":
            results = answer["errors"]
        else:
            return False
        for number, result in zip(batch.numbers, results, strict=True):
            if result["status"] == "accepted":
                self.accepted += 1
            else:
                told = {k: v for k, v in result.items() if k not in {"index", "status"}}
                self.rejections.append({"line": number} | told)
        return True

    def refuse_locally(self, batch: Batch) -> None:
        """Note the lines that were not sent because no service would take them."""
        code = "event_too_large"
        for number in batch.too_large:
            self.rejections.append(
                {"line": number, "code": code, "pointer": "", "detail": CODES[code]}
            )
        self.rejections.sort(key=lambda rejection: rejection["line"])

    def report(self) -> dict[str, Any]:
        """Write the report for machines."""
        return {
            "events": self.accepted + len(self.rejections),
            "accepted": self.accepted,
            "rejected": len(self.rejections),
            "rejections": self.rejections,
        }
