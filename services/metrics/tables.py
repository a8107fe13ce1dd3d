"""Answers as tables for people: readable in 100 columns, every value with its n and its doubt."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from services.tables import plain_table

Json = Mapping[str, Any]
TASK_TYPES: Final = {
    "document_prep": "documents",
    "calendar_deadlines": "calendar",
    "filing_service": "filing",
    "matter_file": "matter",
    "client_comms": "client",
    "intake": "intake",
    "scheduling": "schedule",
    "inbox_admin": "inbox",
}
_TITLES: Final[Mapping[str, str]] = {
    "turnaround": "turnaround",
    "slack": "slack",
    "first_pass_acceptance": "first-pass acceptance",
    "review_coverage": "review coverage",
    "escalation_rate": "escalation rate",
    "throughput": "tasks accepted",
    "open_overdue": "open and overdue",
    "hours": "hours",
    "hours_by_task_type": "hours by task type",
}
_CLOCKS: Final[Mapping[str, str]] = {"wall": "wall", "firm_business": "office hours"}
DASH: Final = "\u2013"
_NOTHING: Final = DASH


def scorecard_table(card: Json) -> RenderableType:
    """Lay out a scorecard: a section for each phase in which there is anything."""
    parts: list[RenderableType] = [_heading(card)]
    for whole in card["firm"]:
        rows = [row for row in card["placements"] if row["phase"] == whole["phase"]]
        if rows or _is_alive(whole):
            parts.append(_phase_table(whole, rows))
            parts.append(_hours_table(whole, rows))
    if len(parts) == 1:
        parts.append(Text("Nobody was placed here in this week, and nothing was done."))
    parts.append(_footer(card))
    return Group(*parts)


def figures_table(answer: Json) -> RenderableType:
    """Lay figures out one a line."""
    figures = answer["figures"]
    groups = list(dict.fromkeys(name for figure in figures for name in figure["group"]))
    windows = {(figure["from_date"], figure["to_date"]) for figure in figures}
    head = Text.assemble(
        (answer["firm_id"], "bold"),
        f" · {_span(answer['from_date'], answer['to_date'])} · {answer['timezone']}\n",
    )
    table = plain_table()
    for name in ("metric", "phase"):
        table.add_column(name, no_wrap=True)
    if len(windows) > 1:
        table.add_column("from", no_wrap=True)
    for name in (name for name in groups if name != "phase"):
        table.add_column(name.replace("_", " "), overflow="fold")
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("n", justify="right", no_wrap=True)
    table.add_column("detail")
    table.add_column("left out", overflow="fold", style="dim")
    for figure in figures:
        cells = [_name(figure), figure["phase"]]
        if len(windows) > 1:
            cells.append(figure["from_date"])
        cells += [figure["group"].get(name) or _NOTHING for name in groups if name != "phase"]
        cells += [_value(figure), str(figure["n"]), _spread(figure), _left_out(figure)]
        table.add_row(*cells, style="dim" if figure["n"] == 0 else None)
    return Group(head, table, _footer(answer))


def duration_text(seconds: float) -> str:
    """Write a duration in the unit that reads best: `45 m`, `7.5 h`, `19 h`, `4.2 d`."""
    size = abs(seconds)
    if size < 3_570:
        return f"{seconds / 60:.0f} m"
    if size < 35_820:
        return f"{seconds / 3600:.1f} h"
    if size < 72 * 3600:
        return f"{seconds / 3600:.0f} h"
    return f"{seconds / 86400:.1f} d"


def hours_text(seconds: int | None) -> str:
    """Write worked time in hours with one decimal; halves up."""
    if seconds is None:
        return _NOTHING
    tenths = (seconds + 180) // 360
    return f"{tenths // 10:,}.{tenths % 10}"


def percent_text(share: float | None) -> str:
    """Write a share in whole per cent, halves up."""
    if share is None:
        return _NOTHING
    return f"{(round(share * 1_000_000) + 5_000) // 10_000} %"  # 0.285 is less than it says


def _heading(card: Json) -> RenderableType:
    return Text.assemble(
        ("Scorecard ", "bold"),
        (card["firm_id"], "bold cyan"),
        f" · {card['week']} · {_span(card['from_date'], card['to_date'])} · {card['timezone']}",
    )


def _phase_table(whole: Json, rows: Sequence[Json]) -> RenderableType:
    table = plain_table(title=f"\n{whole['phase'].upper()}")
    table.add_column("placement", min_width=10, no_wrap=True)
    for name, width in (
        ("turnaround", 12),
        ("office hours", 12),
        ("first pass", 13),
        ("reviewed", 9),
        ("escalated", 13),
    ):
        table.add_column(name, justify="right", min_width=9, max_width=width)
    for name in ("done", "late", "hours"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in (whole, *rows):
        is_whole = row["placement_id"] is None
        figures = {(f["metric"], f["clock"]): f for f in row["figures"]}
        pooled = {(f["metric"], f["clock"]): f for f in row["pooled"]}
        table.add_row(
            Text("whole firm", "bold") if is_whole else _placement(row),
            _duration_cell(("turnaround", "wall"), figures, pooled),
            _duration_cell(("turnaround", "firm_business"), figures, pooled),
            _share_cell(("first_pass_acceptance", None), figures, pooled),
            _share_cell(("review_coverage", None), figures, {}, interval=False),
            _share_cell(("escalation_rate", None), figures, pooled),
            str(figures["throughput", None]["value"]),
            _late_cell(figures["open_overdue", None]),
            hours_text(figures["hours", None]["value"]),
            end_section=is_whole,
        )
    return table


def _placement(row: Json) -> Text:
    return Text.assemble(row["placement_id"], ("\n" + (row["assistant_id"] or "unknown"), "dim"))


_Key = tuple[str, str | None]


def _duration_cell(key: _Key, figures: Mapping[_Key, Json], pooled: Mapping[_Key, Json]) -> Text:
    figure = figures[key]
    cell = Text()
    if figure["value"] is not None:
        cell.append(duration_text(figure["value"]))
    else:
        cell.append(", ".join(map(duration_text, figure["values"] or ())) or _NOTHING)
    second = f"n {figure['n']}"
    if key[1] == "firm_business" and figure["share_zero"]:
        second += f", {percent_text(figure['share_zero'])} 0"
    cell.append("\n" + second, "dim")
    more = pooled.get(key)
    if more and more["n"] > figure["n"] and more["value"] is not None:
        cell.append(f"\n4w {duration_text(more['value'])} n {more['n']}", "dim italic")
    return cell


def _share_cell(
    key: _Key,
    figures: Mapping[_Key, Json],
    pooled: Mapping[_Key, Json],
    *,
    interval: bool = True,
) -> Text:
    figure = figures[key]
    cell = Text(percent_text(figure["value"]))
    doubt = f"{_interval(figure)}, " if interval and figure["interval"] else ""
    cell.append(f"\n{doubt}n {figure['n']}", "dim")
    more = pooled.get(key)
    if more and more["n"] > figure["n"]:
        cell.append(f"\n4w {percent_text(more['value'])} n {more['n']}", "dim italic")
    return cell


def _late_cell(figure: Json) -> Text:
    return Text(str(figure["value"]), "bold red" if figure["value"] else "")


def _hours_table(whole: Json, rows: Sequence[Json]) -> RenderableType:
    cards = [row for row in (whole, *rows) if row["hours_by_task_type"]]
    if not cards:
        return Text("")
    table = plain_table()
    table.add_column("hours by task", min_width=13, no_wrap=True)
    for name in TASK_TYPES.values():
        table.add_column(name, justify="right", min_width=8)
    for card in cards:
        by_type = {f["group"]["task_type"]: f["value"] for f in card["hours_by_task_type"]}
        is_whole = card["placement_id"] is None
        table.add_row(
            Text("whole firm", "bold") if is_whole else card["placement_id"],
            *(hours_text(by_type[name]) if name in by_type else _NOTHING for name in TASK_TYPES),
            end_section=is_whole,
        )
    return Padding(table, (1, 0, 0, 0))


def _footer(answer: Json) -> RenderableType:
    lines = []
    if notices := answer.get("notices"):
        odd = [
            f"{notices[name]} {words}"
            for name, words in (
                ("anomalies", "with an impossible or contradictory story"),
                ("without_workflow", "without a written procedure"),
                ("outside_allowed", "of a type the placement was not given"),
                ("unknown_placements", "of an unknown placement"),
            )
            if notices[name]
        ]
        lines.append(f"{notices['requested']} tasks requested" + "".join(f"; {o}" for o in odd))
        lines.append(
            "n: how many. Ranges: Wilson 95 %. Turnaround: median, less waits on others; fewer"
            " than 5 are listed. 4w: the last 4 weeks together."
        )
    if failed := answer["failed_entities"]:
        lines.append(f"{failed} tasks or entries could not be read: they are not in the figures")
    lines.append(f"as of {answer['data_as_of']['instant']}, computed now")
    return Padding(Text("\n".join(lines), "dim"), (1, 0, 0, 0))


def _is_alive(card: Json) -> bool:
    return any(figure["n"] or figure["excluded"] for figure in card["figures"])


def _span(from_date: str, to_date: str) -> str:
    first = date.fromisoformat(from_date)
    last = date.fromordinal(date.fromisoformat(to_date).toordinal() - 1)
    if (first.year, first.month) == (last.year, last.month):
        return f"{first.day}{DASH}{last.day} {last:%b %Y}"
    return f"{first.day} {first:%b} {DASH} {last.day} {last:%b %Y}"


def _name(figure: Json) -> str:
    title = _TITLES[figure["metric"]]
    return f"{title}, {_CLOCKS[figure['clock']]}" if figure["clock"] else title


def _value(figure: Json) -> str:
    if figure["metric"] in {"hours", "hours_by_task_type"}:
        return f"{hours_text(figure['value'])} h" if figure["n"] else _NOTHING
    if figure["value"] is None:
        return _NOTHING
    if figure["unit"] == "share":
        return percent_text(figure["value"])
    return duration_text(figure["value"]) if figure["unit"] == "seconds" else str(figure["value"])


def _spread(figure: Json) -> str:
    return ", ".join(_spreads(figure))


def _spreads(figure: Json) -> Iterator[str]:
    if figure["interval"]:
        yield f"{figure['numerator']}/{figure['denominator']}, {_interval(figure)}"
    if figure["values"]:
        yield "all: " + ", ".join(map(duration_text, figure["values"]))
    for percent, seconds in (figure["percentiles"] or {}).items():
        if percent != "50" and seconds is not None:
            yield f"p{percent} {duration_text(seconds)}"
    if figure["clock"] == "firm_business" and figure["share_zero"]:
        yield f"{percent_text(figure['share_zero'])} take none"


def _interval(figure: Json) -> str:
    low, high = (percent_text(bound) for bound in figure["interval"])
    return f"{low.removesuffix(' %')}{DASH}{high}"


def _left_out(figure: Json) -> str:
    return _listed(f"{count} {reason}" for reason, count in figure["excluded"].items())


def _listed(parts: Iterable[str]) -> str:
    return ", ".join(part.replace("_", " ") for part in parts)
