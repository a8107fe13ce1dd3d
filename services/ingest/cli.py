"""The commands of the ingest house; each speaks to its service as any client would."""

import typer

app = typer.Typer()
