"""`turnsheet bill`, `rates`, `terms` and `timesheet`: finance at the terminal, over REST."""

import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from services.billing import tables
from services.client import CallRefused, Service, speaks
from services.terminal import AsJson, Firm, bar, read_day, read_id, read_month, read_rate, show

POLL_SECONDS = 0.3
SHOWN = 5
UNDRAFTED = ("unknown_firm", "failed")
REPLAYED = 10  # firms a call
LISTED = 500  # invoices or entries a call

app = typer.Typer()
bill = typer.Typer(no_args_is_help=True, help="Month runs and invoices.")
rates = typer.Typer(no_args_is_help=True, help="The rate card.")
terms = typer.Typer(no_args_is_help=True, help="How a firm is billed.")
timesheet = typer.Typer(no_args_is_help=True, help="A firm's hours and their approval.")
for name, group in (("bill", bill), ("rates", rates), ("terms", terms), ("timesheet", timesheet)):
    app.add_typer(group, name=name)

Invoice = Annotated[
    str, typer.Argument(parser=read_id, help="An invoice's number, or a draft's id.")
]
MaybeInvoice = Annotated[
    str | None, typer.Argument(parser=read_id, help="An invoice's number, or a draft's id.")
]
Period = Annotated[
    str | None, typer.Option(parser=read_month, help="All of a month, like 2026-07.")
]
Since = Annotated[
    str, typer.Option("--from", parser=read_day, help="The first date, like 2026-07-01.")
]
Until = Annotated[str, typer.Option("--to", parser=read_day, help="The last date.")]
NO_INVOICES = "no invoices"
MEDIA = {"csv": "text/csv", "json": "application/json"}


def _invoices(billing: Service, query: Mapping[str, str]) -> list[Any]:
    return list(_pages(billing, "/v1/invoices", {**query, "limit": str(LISTED)}, has="invoices"))


def _pages(billing: Service, path: str, query: Mapping[str, str], *, has: str) -> Iterator[Any]:
    """Ask for page after page of a list, and give the items of all."""
    asked = dict(query)
    while True:
        page = billing.ask("GET", path, query=asked, has=has)
        yield from page[has]
        if page["next"] is None:
            return
        asked["cursor"] = page["next"]


def _whole_run(billing: Service, run_id: str, **query: str) -> Any:
    """Ask for a run with all of its firms, a page at a time."""
    found = page = billing.ask("GET", f"/v1/runs/{run_id}", query=query, has="firms")
    while (after := page["next"]) is not None:
        page = billing.ask("GET", f"/v1/runs/{run_id}", query=query | {"after": after}, has="firms")
        found["firms"] += page["firms"]
    del found["next"]
    return found


@bill.command()
@speaks("billing")
def run(
    billing: Service,
    period: Annotated[
        str | None, typer.Argument(parser=read_month, help="The month, like 2026-07.")
    ] = None,
    firm: Annotated[
        list[str] | None, typer.Option(parser=read_id, help="Only this firm; may be repeated.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Decide, but keep no draft.")] = False,
    as_of: Annotated[
        str | None,
        typer.Option(
            metavar="RUN",
            parser=read_id,
            help="Decide a past run again, change nothing, and compare.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Draft a month, and show where every hour went.

    Pins what counts, and waits until it is read. Ends with 1 when a firm is blocked, or unknown.
    With --as-of, decides a past run again from what it saw, and ends with 1 when a byte differs.
    """
    if as_of is not None:
        if period is not None or dry_run:
            raise typer.BadParameter("--as-of takes the month, and what counts, from the run")
        _replay(billing, as_of, firm, as_json=as_json)
        return
    if period is None:
        raise typer.BadParameter("give a month, like 2026-07, or --as-of RUN")
    begun = billing.ask(
        "POST", "/v1/runs", {"period": period, "firm_ids": firm, "dry_run": dry_run}, has="run_id"
    )
    found = _follow(billing, begun)
    show(found, [tables.run_table(found), "", tables.buckets_table(found)], as_json=as_json)
    reports = [item["report"] for item in found["firms"]]
    if any(told["blocked"] or told["outcome"] in UNDRAFTED for told in reports):
        raise typer.Exit(1)


def _replay(billing: Service, run_id: str, firms: list[str] | None, *, as_json: bool) -> None:
    """Compare a past run with its replay, some firms a call, with a bar."""
    found = _whole_run(billing, run_id, reports="false")
    wanted = [item["firm_id"] for item in found["firms"] if not firms or item["firm_id"] in firms]
    if unknown := set(firms or ()) - set(wanted):
        raise CallRefused(f"not in this run: {', '.join(sorted(unknown))}")
    replayed: list[Any] = []
    with bar() as shown:
        task = shown.add_task("replaying firms", total=len(wanted))
        for query in _replay_pages(wanted, whole=not firms):
            replayed += billing.ask("GET", f"/v1/runs/{run_id}/replay", query=query, has="firms")[
                "firms"
            ]
            shown.update(task, completed=len(replayed))
    told = {"run_id": run_id, "period": found["period"], "cut": found["cut"], "firms": replayed}
    show(told, [tables.replay_table(told)], as_json=as_json)
    if any(item["state"] != "same" for item in replayed):
        raise typer.Exit(1)


def _replay_pages(wanted: list[str], *, whole: bool) -> Iterable[dict[str, str]]:
    """Say which calls replay some firms: a page at a time for a whole run, else one by one."""
    if not whole:
        yield from ({"firm_id": firm_id} for firm_id in wanted)
        return
    for start in range(0, len(wanted), REPLAYED):
        after = {"after": wanted[start - 1]} if start else {}
        yield {"limit": str(REPLAYED)} | after


def _follow(billing: Service, begun: Any) -> Any:
    """Watch a run to its end, with a bar once its firms are known."""
    found = begun
    with bar() as shown:
        task = shown.add_task("waiting until the log is applied", total=None)
        while found["state"] != "done":
            time.sleep(POLL_SECONDS)
            query = {"reports": "false", "limit": "1"}
            found = billing.ask("GET", f"/v1/runs/{begun['run_id']}", query=query, has="firms")
            if found["state"] != "waiting":
                done, total = found["done_count"], found["firm_count"]
                shown.update(task, description="drafting firms", total=total, completed=done)
    return _whole_run(billing, begun["run_id"])


@bill.command()
@speaks("billing")
def approve(
    billing: Service, invoice: MaybeInvoice = None, period: Period = None, as_json: AsJson = False
) -> None:
    """Approve a draft, or all drafts of a month."""
    month = _month_of(invoice, period)
    if month is None:
        wanted = [invoice]
    else:
        listed = _invoices(billing, {"period": month})
        wanted = [item["invoice_id"] for item in listed if item["state"] == "draft"]
        if not wanted:
            raise CallRefused("nothing of this month is a draft: see `turnsheet bill list`")
    done, refused = [], []
    for item in wanted:
        try:
            done.append(billing.ask("POST", f"/v1/invoices/{item}/approve", has="invoice_id"))
        except CallRefused as error:
            refused.append(f"{item}: {error}")
    show(
        {"approved": done, "refused": refused},
        [*([tables.invoices_table(done)] if done else []), *refused],
        as_json=as_json,
    )
    if refused:
        raise typer.Exit(1)


def _month_of(invoice: str | None, period: str | None) -> str | None:
    """Give the month when that was asked for; refuse both it and an invoice, or neither."""
    if (invoice is None) == (period is None):
        raise typer.BadParameter("give an invoice or --period 2026-07, not both")
    return period


@bill.command()
@speaks("billing")
def issue(
    billing: Service,
    date: Annotated[str, typer.Option(parser=read_day, help="The invoice date, like 2026-08-05.")],
    invoice: MaybeInvoice = None,
    period: Period = None,
    as_json: AsJson = False,
) -> None:
    """Issue an approved invoice, or all of a month.

    They get their numbers, and never change again. With a month, firms that have nothing to bill
    are settled too.
    """
    body = {"invoice_date": date}
    month = _month_of(invoice, period)
    if month is None:
        issued = [billing.ask("POST", f"/v1/invoices/{invoice}/issue", body, has="invoice_id")]
        show(issued, [tables.invoices_table(issued)], as_json=as_json)
        return
    answers = list(_issue_month(billing, month, body))
    issued = [item for answer in answers for item in answer["issued"]]
    without = [firm for answer in answers for firm in answer["settled_without_document"]]
    refused = [one for answer in answers for one in answer["refused"]]
    if not (issued or without or refused):
        raise CallRefused("nothing of this month is approved: see `turnsheet bill list`")
    words = [f"settled without a document: {', '.join(without)}"] if without else []
    words += [f"{one['firm_id']}: {one['detail']}" for one in refused]
    show(answers, [tables.invoices_table(issued), *words], as_json=as_json)
    if refused:
        raise typer.Exit(1)


def _issue_month(billing: Service, period: str, body: dict[str, str]) -> Iterator[Any]:
    """Issue what the runs of a month have ready, the newest run first, with a bar."""
    runs = billing.ask("GET", "/v1/runs", query={"period": period}, has="runs")["runs"]
    with bar() as shown:
        task = shown.add_task("issuing", total=None)
        for item in runs:
            if item["dry_run"] or item["state"] != "done":
                continue
            query: dict[str, str] = {}
            while True:
                answer = billing.ask(
                    "POST", f"/v1/runs/{item['run_id']}/issue", body, query=query, has="issued"
                )
                settled = answer["issued"], answer["settled_without_document"], answer["refused"]
                shown.update(task, advance=sum(map(len, settled)), total=item["firms"])
                yield answer
                if answer["next"] is None:
                    break
                query = {"after": answer["next"]}


@bill.command()
@speaks("billing")
def withdraw(billing: Service, invoice: Invoice, as_json: AsJson = False) -> None:
    """Take an approval back, so that a new run may replace the draft."""
    found = billing.ask("POST", f"/v1/invoices/{invoice}/withdraw", has="invoice_id")
    show(found, [tables.invoices_table([found])], as_json=as_json)


@bill.command("list")
@speaks("billing")
def list_invoices(
    billing: Service,
    period: Period = None,
    firm: Annotated[str | None, typer.Option(parser=read_id, help="Only this firm.")] = None,
    as_json: AsJson = False,
) -> None:
    """List invoices, the newest month first."""
    query = ({"period": period} if period else {}) | ({"firm_id": firm} if firm else {})
    found = _invoices(billing, query)
    shown = tables.invoices_table(found) if found else NO_INVOICES
    show({"invoices": found}, [shown], as_json=as_json)


@bill.command("show")
@speaks("billing")
def show_invoice(billing: Service, invoice: Invoice, as_json: AsJson = False) -> None:
    """Show an invoice's lines."""
    found = billing.ask("GET", f"/v1/invoices/{invoice}", has="document")
    show(found, [tables.invoice_table(found)], as_json=as_json)


@bill.command()
@speaks("billing")
def export(
    billing: Service,
    invoice: Invoice,
    out: Annotated[Path, typer.Option("-o", "--out", help="The file to write.")],
    form: Annotated[Literal["csv", "json"], typer.Option("--format", help="csv or json.")] = "csv",
    as_json: AsJson = False,
) -> None:
    """Write an issued invoice to a file, as CSV or JSON."""
    raw = billing.call("GET", f"/v1/invoices/{invoice}.{form}", media=MEDIA[form])
    out.write_bytes(raw)
    told = {"file": str(out), "bytes": len(raw)}
    show(told, [f"{len(raw)} bytes in {out}"], as_json=as_json)


@bill.command()
@speaks("billing")
def explain(
    billing: Service,
    invoice: Invoice,
    line: Annotated[int, typer.Argument(min=1, help="The line's number.")],
    every: Annotated[bool, typer.Option("--all", help="Show all entries.")] = False,
    as_json: AsJson = False,
) -> None:
    """Add a line up again, down to its events in the log."""
    told = billing.ask("GET", f"/v1/invoices/{invoice}/lines/{line}/explain", has="entries")
    show(told, tables.explanation_lines(told, None if every else SHOWN), as_json=as_json)


@rates.command("list")
@speaks("billing")
def list_rates(billing: Service, as_json: AsJson = False) -> None:
    """Show the rate card in force."""
    found = billing.ask("GET", "/v1/rate-cards", has="rates")
    show(found, [tables.rates_table(found["rates"])], as_json=as_json)


@rates.command("set")
@speaks("billing")
def set_rate(
    billing: Service,
    rate: Annotated[str, typer.Option(parser=read_rate, help="The rate an hour, like 9.00.")],
    since: Annotated[str, typer.Option("--from", parser=read_day, help="From this date on.")],
    country: Annotated[
        str | None, typer.Option(help="The country of work, like PH; not for a placement.")
    ] = None,
    role: Annotated[str, typer.Option(help="The role.")] = "legal_assistant",
    phase: Annotated[str | None, typer.Option(help="Only in this phase, like trial.")] = None,
    currency: Annotated[str, typer.Option(help="The currency.")] = "USD",
    firm: Annotated[str | None, typer.Option(parser=read_id, help="Only for this firm.")] = None,
    placement: Annotated[
        str | None,
        typer.Option(parser=read_id, help="Only for this placement, wherever it works."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Put a rate on the card; the old one ends where the new one begins."""
    told = {"role": role, "rate": rate, "currency": currency, "valid_from": since}
    told |= {"country": country} if country else {}
    told |= {"phase": phase} if phase else {}
    told |= {"firm_id": firm} if firm else {}
    told |= {"placement_id": placement} if placement else {}
    found = billing.ask("PUT", "/v1/rate-cards", told, has="rate")
    show(found, [tables.rates_table([found])], as_json=as_json)


@terms.command("show")
@speaks("billing")
def show_terms(billing: Service, firm: Firm, as_json: AsJson = False) -> None:
    """Show a firm's billing terms: those of this month, and all versions."""
    found = billing.ask("GET", f"/v1/firms/{firm}/billing-terms", has="versions")
    show(found, [tables.terms_table(found)], as_json=as_json)


@terms.command("set")
@speaks("billing")
def set_terms(
    billing: Service,
    firm: Firm,
    since: Annotated[
        str, typer.Option("--from", parser=read_month, help="From this month on, like 2026-07.")
    ],
    approval: Annotated[
        Literal["none", "required"], typer.Option(help="Who must agree.")
    ] = "required",
    increment: Annotated[int, typer.Option(help="Minutes: 0, 6 or 15.")] = 0,
    direction: Annotated[Literal["up", "nearest", "down"], typer.Option(help="Rounding.")] = "up",
    exclude_kind: Annotated[
        list[str] | None,
        typer.Option(help="Work of this kind is not billed, like training; may be repeated."),
    ] = None,
    exclude_phase: Annotated[
        list[str] | None,
        typer.Option(help="Work in this phase is not billed, like trial; may be repeated."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Add a version of a firm's billing terms.

    It replaces all of the one before: what is not said is as if it never had been.
    """
    told = {
        "excluded_kinds": exclude_kind or [],
        "excluded_phases": exclude_phase or [],
        "approval": approval,
        "increment_minutes": increment,
        "direction": direction,
        "effective_month": since,
    }
    found = billing.ask("PUT", f"/v1/firms/{firm}/billing-terms", told, has="version")
    words = f"version {found['version']} from {found['effective_month']} on"
    show(found, [words], as_json=as_json)


@timesheet.command("list")
@speaks("billing")
def list_timesheet(
    billing: Service,
    firm: Firm,
    since: Since,
    until: Until,
    as_json: AsJson = False,
) -> None:
    """List a firm's entries of some dates."""
    query = {"from": since, "to": until, "limit": str(LISTED)}
    entries = list(_pages(billing, f"/v1/firms/{firm}/timesheets", query, has="entries"))
    shown = tables.timesheet_table(entries) if entries else "no entries"
    show({"entries": entries}, [shown], as_json=as_json)


@timesheet.command("approve")
@speaks("billing")
def approve_timesheet(
    billing: Service,
    firm: Firm,
    since: Since,
    until: Until,
    as_json: AsJson = False,
) -> None:
    """Approve a firm's time of some dates.

    Names each entry in the version that stands at this moment: what changes later is not approved.
    """
    body = {"from_date": since, "to_date": until}
    found = billing.ask("POST", f"/v1/firms/{firm}/timesheets/approve", body, has="approved")
    show(found, [f"{found['approved']} entries approved"], as_json=as_json)
