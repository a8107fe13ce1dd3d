"""The commands of the metrics house; each speaks to its service as any client would."""

import typer

app = typer.Typer()
