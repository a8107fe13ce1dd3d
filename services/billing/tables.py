"""What finance reads at the terminal: runs, invoices and explanations as tables (pure)."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from rich.table import Table

from schemas.money import clock_text
from services.tables import plain_table

Json = Mapping[str, Any]
_RIGHT: Final = frozenset(
    {"lines", "total", "held overall", "worked", "billed", "non-billable", "written off", "held",
     "line", "hours", "rate", "amount", "time"}
)  # fmt: skip


def _money(value: Json) -> str:
    return f"{value['amount']} {value['currency']}"


def _kept(run: Json, firm: Json) -> str:
    """Say what a run came to, and when its draft was not kept beside an approved one."""
    outcome: str = firm["report"]["outcome"]
    drafted = outcome == "document" and not run["dry_run"] and not firm["report"]["blocked"]
    if drafted and firm["invoice_id"] is None:
        return f"{outcome}, not kept: an approved one stands"
    return outcome


def run_table(run: Json) -> Table:
    """One row a firm: what the run decided."""
    columns = "firm", "outcome", "lines", "total", "held overall", "blocked"
    table = plain_table(*columns, title=f"run {run['run_id']}", right=_RIGHT)
    for firm in run["firms"]:
        report = firm["report"]
        if "total" not in report:
            why = ", ".join(f"{b['code']} {b['detail']}" for b in report["blocked"])
            table.add_row(firm["firm_id"], report["outcome"], "", "", "", why)
            continue
        held = sum(item["seconds"] for item in report["held"])
        table.add_row(
            firm["firm_id"],
            _kept(run, firm),
            str(len(report["lines"])),
            _money(report["total"]),
            clock_text(held),
            ", ".join(f"{b['code']} {b['detail']}" for b in report["blocked"]),
        )
    return table


def replay_table(replayed: Json) -> Table:
    """One row a firm: what a past run decided, and whether deciding again gives the same bytes."""
    title = f"run {replayed['run_id']} of {replayed['period']}, as of {replayed['cut']['instant']}"
    table = plain_table("firm", "outcome", "report", "draft", "replay", title=title)
    for firm in replayed["firms"]:
        differing = ", ".join(firm["differences"])
        table.add_row(
            firm["firm_id"],
            firm["outcome"] or "",
            (firm["report_sha256"] or "")[:12],
            (firm["content_sha256"] or "")[:12],
            f"{firm['state']}: {differing}" if differing else firm["state"],
        )
    return table


def buckets_table(run: Json) -> Table:
    """Where each firm's worked time of the period went, in h:mm:ss."""
    title = f"{run['period']}: worked = billed + non-billable + written off + held"
    columns = "firm", "worked", "billed", "non-billable", "written off", "held", "why held"
    table = plain_table(*columns, title=title, right=_RIGHT)
    for firm in run["firms"]:
        for bucket in firm["report"].get("buckets_if_issued", ()):
            if bucket["service_month"] != run["period"]:
                continue
            held = {why: seconds for why, seconds in bucket["held_seconds"].items() if seconds}
            table.add_row(
                firm["firm_id"],
                clock_text(bucket["worked_seconds"]),
                clock_text(bucket["billed_seconds"]),
                clock_text(bucket["non_billable_seconds"]),
                clock_text(bucket["written_off_seconds"]),
                clock_text(sum(held.values())),
                ", ".join(f"{why} {clock_text(seconds)}" for why, seconds in sorted(held.items())),
            )
    return table


def invoices_table(invoices: Iterable[Json]) -> Table:
    """One row an invoice."""
    table = plain_table("invoice", "firm", "period", "state", "total", right=_RIGHT)
    for invoice in invoices:
        table.add_row(
            invoice["number"] or invoice["invoice_id"],
            invoice["firm_id"],
            invoice["period"],
            invoice["state"],
            _money(invoice["total"]),
        )
    return table


def invoice_table(invoice: Json) -> Table:
    """The lines of one invoice."""
    document = invoice["document"]
    name = invoice["number"] or invoice["invoice_id"]
    title = f"{name}  {invoice['firm_id']}  {invoice['period']}  {invoice['state']}"
    columns = ["line", "month", "placement", "assistant", "role", "from", "hours", "rate", "amount"]
    table = plain_table(*columns, title=title, right=_RIGHT)
    for line in document["lines"]:
        month = line["service_month"]
        if line["kind"] == "adjustment":
            month += " *"
        table.add_row(
            str(line["line_number"]), month, line["placement_id"], line["assistant_id"],
            line["role"], line["country"], line["hours"], line["rate"], line["amount"],
        )  # fmt: skip
    table.add_section()
    table.add_row(
        "", "", "", "", "", "", "", "total", f"{document['total']} {document['currency']}"
    )
    return table


def explanation_lines(told: Json, shown: int | None) -> Iterable[str]:
    """Say a line's arithmetic, then its entries with their events and places in the log."""
    line = told["line"]
    yield f"{told['number']} line {told['line_number']}: {line['placement_id']}, {line['role']}"
    yield from (f"  {step}" for step in told["steps"])
    entries = told["entries"]
    yield f"{len(entries)} entries" + (f", the first {shown}:" if shown else ":")
    for entry in entries[:shown]:
        clock = clock_text(entry["seconds"])
        yield f"  {entry['entry_id']}  {entry['service_date']}  {clock}"
        for fact in entry["facts"]:
            place = f"{fact['topic']}/{fact['partition']}@{fact['offset']}"
            yield f"    {fact['type']}  {fact['source']} {fact['id']}  {place}"


def rates_table(rates: Iterable[Json]) -> Table:
    """The rate card."""
    table = plain_table(
        "country", "role", "phase", "firm", "placement", "rate", "from", "until", right=_RIGHT
    )
    for rate in rates:
        table.add_row(
            rate["country"], rate["role"], rate["phase"], rate["firm_id"], rate["placement_id"],
            f"{rate['rate']} {rate['currency']}", rate["valid_from"], rate["valid_to"] or "",
        )  # fmt: skip
    return table


def timesheet_table(entries: Iterable[Json]) -> Table:
    """A firm's entries of some dates."""
    table = plain_table("entry", "date", "placement", "status", "time", "approved", right=_RIGHT)
    for entry in entries:
        table.add_row(
            entry["entry_id"], entry["service_date"], entry["placement_id"], entry["status"],
            clock_text(entry["seconds"]), "yes" if entry["approved"] else "no",
        )  # fmt: skip
    return table


def terms_table(told: Json) -> Table:
    """A firm's terms, the newest version last; the one of this month is marked."""
    table = plain_table("version", "from", "approval", "minutes", "direction", "left out", "now")
    versions = told["versions"] or [told["current"]]
    for terms in versions:
        kept_out = ", ".join([*terms["excluded_kinds"], *terms["excluded_phases"]])
        own = terms["version"] > 0
        table.add_row(
            str(terms["version"]) if own else "default", terms["effective_month"] if own else "",
            terms["approval"], str(terms["increment_minutes"]), terms["direction"], kept_out,
            "yes" if terms["version"] == told["current"]["version"] else "",
        )  # fmt: skip
    return table
