"""The commands of the demo house; each speaks to its service as any client would."""

import typer

app = typer.Typer()
