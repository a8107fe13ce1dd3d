"""`turnsheet token`, `send` and `import`: who may speak, and files in."""

from services.ingest.cli.files import app
from services.ingest.cli.tokens import tokens

app.add_typer(tokens, name="token")

__all__ = ["app"]
