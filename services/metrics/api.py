"""The calls of metrics: figures, the tasks behind them, scorecards, definitions."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from heapq import nsmallest
from typing import Final, TypeVar, get_args

from aiohttp import web

from schemas.directory import Firm
from schemas.periods import Week
from services.directories import load_directory, load_firm
from services.metrics.answers import (
    FIGURES_MAX,
    DefinitionItem,
    DefinitionsAnswer,
    FiguresAnswer,
    FiguresQuery,
    MemberItem,
    MembersAnswer,
    MembersQuery,
    MetricName,
    MetricPath,
    ScorecardAnswer,
    WeekPath,
)
from services.metrics.catalogue import DEFINITIONS, choose
from services.metrics.cohorts import Member, Timing
from services.metrics.figures import (
    PHASES,
    Question,
    answer,
    clocks_of,
    count_figures,
    phase_of,
    windows,
)
from services.metrics.gather import gather, load_cut
from services.metrics.scorecards import METRICS, make_scorecard, pooled_span
from services.postgres import Connection
from services.pulse import LARGE_RECORDS
from services.web.http import (
    Fault,
    Problem,
    Route,
    firm_view,
    json_response,
    not_found,
    path_of,
    query_of,
)
from services.web.pages import next_link, read_cursor, write_cursor

assert get_args(MetricName) == tuple(DEFINITIONS), "every metric can be asked for by its name"
PLACE_PARTS: Final = 4
Value = TypeVar("Value")


async def get_figures(request: web.Request) -> web.StreamResponse:
    """Answer with figures."""
    firm_id = request.match_info["firm"]
    query = query_of(request, FiguresQuery)
    definitions = choose(query.metric)
    async with firm_view(request, firm_id, "read_metrics") as conn:
        firm = await _known(conn, firm_id)
        gathered = await gather(conn, firm, query.span, definitions, _this_minute())
        data_as_of, failed = await load_cut(conn, firm_id, gathered.as_of)
    question = Question(
        definitions=definitions,
        span=query.span,
        granularity=query.granularity,
        group_by=query.group_by,
        clocks=query.clock,
        net=query.net,
        phases=query.phases,
        percentiles=query.percentiles,
    )

    def respond() -> web.Response:
        work = gathered.read()
        if count_figures(work, question) > FIGURES_MAX:
            raise _too_many_figures()
        told = FiguresAnswer(
            firm_id=firm_id,
            timezone=work.zone,
            from_date=query.from_date,
            to_date=query.to_date,
            figures=answer(work, question),
            failed_entities=failed,
            data_as_of=data_as_of,
        )
        return json_response(request, told)

    return await _computed(_most_figures(gathered.size(), question), respond)


async def get_members(request: web.Request) -> web.StreamResponse:
    """Answer with the tasks, escalations or entries that a figure was made of."""
    path, query = path_of(request, MetricPath), query_of(request, MembersQuery)
    definition = DEFINITIONS[path.metric]
    after = None if query.cursor is None else read_cursor(query.cursor, PLACE_PARTS)
    async with firm_view(request, path.firm, "read_metric_tasks") as conn:
        firm = await _known(conn, path.firm)
        gathered = await gather(conn, firm, query.span, [definition], _this_minute())
        data_as_of, _ = await load_cut(conn, path.firm, gathered.as_of)

    def respond() -> web.Response:
        timing = Timing(query.clock, query.net)
        members = definition.measure(gathered.read(), query.span, timing)
        rest = (m for m in members if _is_asked(m, query) and (not after or _place(m) > after))
        found = nsmallest(query.limit + 1, rest, key=_place)
        page = found[: query.limit]
        following = write_cursor(_place(page[-1])) if len(found) > len(page) else None
        told = MembersAnswer(
            firm_id=path.firm,
            metric=path.metric,
            clock=query.clock if definition.clocks else None,
            items=tuple(map(_item, page)),
            next=following,
            data_as_of=data_as_of,
        )
        return json_response(request, told, headers=next_link(request, following))

    return await _computed(gathered.size(), respond)


async def get_scorecard(request: web.Request) -> web.StreamResponse:
    """Answer with a firm's week."""
    path = path_of(request, WeekPath)
    try:
        week = Week.parse(path.iso_week)
        span = pooled_span(week)
    except (ValueError, OverflowError):
        raise Problem(
            422,
            "invalid_path",
            "The address is not one that this call has",
            errors=[Fault("/path/iso_week", "no_such_week", "a week of that year, like 2026-W28")],
        ) from None
    async with firm_view(request, path.firm, "read_scorecard") as conn:
        directory = await load_directory(conn, path.firm)
        if directory.firm is None:
            raise not_found()
        asked = [DEFINITIONS[name] for name in (*METRICS, "hours_by_task_type")]
        gathered = await gather(conn, directory.firm, span, asked, _this_minute())
        data_as_of, failed = await load_cut(conn, path.firm, gathered.as_of)

    def respond() -> web.Response:
        work = gathered.read()
        card = make_scorecard(work, directory, week)
        told = ScorecardAnswer(
            firm_id=path.firm,
            timezone=work.zone,
            week=card.week,
            from_date=card.from_date,
            to_date=card.to_date,
            firm=card.firm,
            placements=card.placements,
            notices=card.notices,
            failed_entities=failed,
            data_as_of=data_as_of,
        )
        return json_response(request, told)

    figures = len(directory.placements) * len(METRICS)
    return await _computed(gathered.size() + figures, respond)


async def _computed(size: int, compute: Callable[[], Value]) -> Value:
    """Compute, and write, an answer; a large one in a thread, for the loop also reads the log."""
    if size <= LARGE_RECORDS:
        return compute()
    return await asyncio.to_thread(compute)


def _most_figures(rows: int, question: Question) -> int:
    """Say how many figures there could be if every row were a group: stock asks each so often."""
    clocks = sum(len(clocks_of(one, question.clocks)) for one in question.definitions)
    return (rows + len(PHASES)) * clocks * len(windows(question.span, question.granularity))


def _too_many_figures() -> Problem:
    fault = Fault(
        "/query",
        "too_many_figures",
        f"ask for {FIGURES_MAX:,} figures at most: fewer dates, groups, metrics or clocks,"
        " or a coarser granularity",
    )
    return Problem(422, "invalid_query", "The query is not what this call takes", errors=[fault])


async def get_definitions(request: web.Request) -> web.StreamResponse:
    """Answer with the definition of every metric."""
    items = tuple(
        DefinitionItem(
            metric=definition.metric,
            definition_version=definition.version,
            title=definition.title,
            unit=definition.unit,
            anchor=definition.anchor,
            clocks=definition.clocks,
            beside=definition.beside,
            formula=definition.formula,
            edges=definition.edges,
        )
        for definition in DEFINITIONS.values()
    )
    return json_response(request, DefinitionsAnswer(items))


async def _known(conn: Connection, firm_id: str) -> Firm:
    """Load a firm. Raises Problem 404 while nobody has told us of it."""
    firm = await load_firm(conn, firm_id)
    if firm is None:
        raise not_found()
    return firm


def _this_minute() -> datetime:
    return datetime.now(UTC).replace(second=0, microsecond=0)


def _is_asked(member: Member, query: MembersQuery) -> bool:
    place = member.place
    return (
        (query.phases is None or phase_of(place) in query.phases)
        and query.placement in {None, place.placement_id}
        and query.task_type in {None, place.task_type}
    )


def _place(member: Member) -> tuple[str, ...]:
    """Say where a member stands in the list: what a cursor names."""
    at = "" if member.at is None else member.at.isoformat()
    return member.day.isoformat(), at, member.kind, member.subject_id


def _item(member: Member) -> MemberItem:
    place = member.place
    return MemberItem(
        kind=member.kind,
        id=member.subject_id,
        phase=phase_of(place),
        placement_id=place.placement_id,
        assistant_id=place.assistant_id,
        task_type=place.task_type,
        country=place.country,
        date=member.day,
        at=member.at,
        counts=member.excluded is None,
        excluded=member.excluded,
        hit=member.hit,
        seconds=member.seconds,
    )


ROUTES: Final = (
    Route(
        "GET",
        "/v1/firms/{firm}/metrics",
        get_figures,
        scope="metrics:read",
        summary="Figures of a firm",
        description="Computed on read, for the dates [from, to) of the firm's zone. Windows ×"
        f" groups × metrics, each in its clocks, come to {FIGURES_MAX:,} figures at most: more is"
        " refused with `too_many_figures`.",
        query=FiguresQuery,
        response=FiguresAnswer,
    ),
    Route(
        "GET",
        "/v1/firms/{firm}/metrics/{metric}/tasks",
        get_members,
        scope="metrics:read",
        summary="The tasks behind a figure",
        description="With what each measures, and why it counts or not.",
        query=MembersQuery,
        variables=MetricPath,
        response=MembersAnswer,
        headers=(("Link", "The next page, when there is one."),),
    ),
    Route(
        "GET",
        "/v1/firms/{firm}/scorecards/{iso_week}",
        get_scorecard,
        scope="metrics:read",
        summary="A week's scorecard",
        description="Every figure per placement and phase, and the firm's per phase.",
        variables=WeekPath,
        response=ScorecardAnswer,
    ),
    Route(
        "GET",
        "/v1/metric-definitions",
        get_definitions,
        scope=None,
        summary="What every metric means",
        response=DefinitionsAnswer,
    ),
)
