"""`turnsheet token`: who may speak; straight to the database, for the machine's operator."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, TypeVar

import asyncpg
import typer
from pydantic import TypeAdapter, ValidationError
from rich.table import Table

from schemas.fields import Source
from services.machine.operator_tokens import Operator
from services.postgres import Connection, connect
from services.refusals import Refused
from services.settings import Settings, load
from services.terminal import AsJson, err, fail, read_id, show
from services.web.auth import (
    ALL,
    DEFAULT_SCOPES,
    KINDS,
    Kind,
    NewToken,
    Token,
    create_token,
    list_tokens,
    revoke_token,
    revoke_tokens,
)
from services.web.problems import Problem

Found = TypeVar("Found")
_SOURCE: Final = TypeAdapter[str](Source)
tokens = typer.Typer(no_args_is_help=True, help="Who may speak: make, list and revoke tokens.")

# What a token of a kind is bound to when nothing is said; what is not here has to be said.
UNBOUND: Final[dict[Kind, frozenset[str]]] = {
    "tracker": frozenset(),
    "connection": frozenset({"placement"}),
    "firm": frozenset({"placement", "source"}),
    "qa": frozenset({"firm", "placement", "source"}),
    "finance": frozenset({"firm", "placement", "source"}),
    "approver": frozenset({"firm", "placement", "source"}),
    "admin": frozenset({"firm", "placement", "source"}),
    "auditor": frozenset({"firm", "placement", "source"}),
}


def read_bound(text: str) -> str:
    """Check an id of a firm or placement; "*" is all."""
    return text if text == ALL else read_id(text)


def read_source(text: str) -> str:
    """Check a prefix of sources: what an event's source can be."""
    try:
        return _SOURCE.validate_python(text)
    except ValidationError:
        raise typer.BadParameter("a source is a URI, like tracker/asst-1") from None


@tokens.command("create")
def create(
    kind: Annotated[str, typer.Argument(help=f"One of {', '.join(KINDS)}.")],
    name: Annotated[str, typer.Argument(help="Whose it is: an opaque id, like asst-1.")],
    firm: Annotated[
        list[str] | None, typer.Option(parser=read_bound, help="A firm it is bound to.")
    ] = None,
    placement: Annotated[
        list[str] | None, typer.Option(parser=read_bound, help="A placement.")
    ] = None,
    source: Annotated[
        list[str] | None, typer.Option(parser=read_source, help="A prefix of event sources.")
    ] = None,
    scope: Annotated[list[str] | None, typer.Option(help="Instead of the kind's own.")] = None,
    days: Annotated[int, typer.Option(min=1, max=3650, help="How long it is valid.")] = 90,
    label: Annotated[str, typer.Option(help="What it is for; opaque, no names.")] = "",
    as_json: AsJson = False,
) -> None:
    """Make a token; its text is printed once and kept nowhere.

    Bind it to what it may speak for; "*" is all. What a kind has to be bound to is asked for.
    """
    found = next((known for known in KINDS if known == kind), None)
    if found is None:
        raise typer.BadParameter(f"no kind {kind}: give one of {', '.join(KINDS)}")
    now = datetime.now(UTC)
    new = NewToken(
        f"{kind}:{name}",
        found,
        now + timedelta(days=days),
        scope,
        _bound(found, "firm", firm),
        _bound(found, "placement", placement),
        _bound(found, "source", source),
        label,
    )

    async def make(settings: Settings, conn: Connection) -> str:
        return await create_token(conn, settings.token_pepper, new, actor=Operator(), now=now)

    try:
        text = _with_identity(make)
    except Problem as problem:
        raise typer.BadParameter(problem.detail or problem.title) from None
    if as_json:
        scopes = sorted(DEFAULT_SCOPES[found] if scope is None else scope)
        typer.echo(json.dumps({"token": text, "token_id": text.split("_")[2], "scopes": scopes}))
    else:
        typer.echo(text)
        err.print(f"valid for {days} days; this text is shown only now")


def _bound(kind: Kind, what: str, given: list[str] | None) -> list[str]:
    if given:
        return given
    if what in UNBOUND[kind]:
        return [ALL]
    raise typer.BadParameter(f"a {kind} token needs --{what}, which may be '*'")


@tokens.command("list")
def list_all(as_json: AsJson = False) -> None:
    """List all tokens, the newest first, without their texts."""

    async def find(_: Settings, conn: Connection) -> list[Token]:
        return await list_tokens(conn)

    found = _with_identity(find)
    told = [
        token._asdict()
        | {name: _text(getattr(token, name)) for name in ("created_at", "expires_at", "revoked_at")}
        for token in found
    ]
    table = Table("id", "principal", "firms", "placements", "sources", "scopes", "state", box=None)
    now = datetime.now(UTC)
    for token in found:
        state = f"until {token.expires_at:%Y-%m-%d}"
        if token.revoked_at is not None:
            state = f"revoked {token.revoked_at:%Y-%m-%d}"
        elif token.expires_at <= now:
            state = "expired"
        table.add_row(
            token.token_id,
            token.principal_id,
            *(" ".join(b) for b in (token.firms, token.placements, token.sources, token.scopes)),
            state,
        )
    show(told, [table], as_json=as_json, width=160)


@tokens.command("revoke")
def revoke(
    token_id: Annotated[
        str | None, typer.Argument(help="Its id, as `token list` shows it.", show_default=False)
    ] = None,
    principal: Annotated[
        str | None, typer.Option(help="All tokens of a principal, like tracker:asst-1.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """End a token, or all of a principal: the next request is refused."""
    if (token_id is None) == (principal is None):
        raise typer.BadParameter("give the id of a token, or --principal")

    async def end(_: Settings, conn: Connection) -> list[str]:
        now = datetime.now(UTC)
        if principal is not None:
            return await revoke_tokens(conn, principal, actor=Operator(), now=now)
        assert token_id is not None
        ended = await revoke_token(conn, token_id, actor=Operator(), now=now)
        return [token_id] if ended else []

    ended = _with_identity(end)
    if not ended:
        whose = "id" if principal is None else "principal"
        fail(f"there is no live token of this {whose}: see `turnsheet token list`")
    typer.echo(json.dumps({"revoked": ended}) if as_json else f"revoked {' '.join(ended)}")


def _with_identity(act: Callable[[Settings, Connection], Awaitable[Found]]) -> Found:
    """Act on the database of who may speak, as the operator of this machine."""
    settings = load()
    if not settings.database_url:
        raise Refused("no database: set DATABASE_URL, or run `turnsheet up` first")

    async def run() -> Found:
        conn = await connect(settings, "identity", "writer")
        try:
            return await act(settings, conn)
        finally:
            await conn.close()

    try:
        return asyncio.run(run())
    except OSError:
        raise Refused("the database does not answer: is `turnsheet up` running?") from None
    except asyncpg.InvalidAuthorizationSpecificationError:
        raise Refused("the database has no such roles yet: run `turnsheet migrate`") from None


def _text(instant: datetime | None) -> str | None:
    return instant.isoformat() if instant is not None else None
