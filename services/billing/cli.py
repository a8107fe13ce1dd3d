"""The commands of the billing house; each speaks to its service as any client would."""

import typer

app = typer.Typer()
