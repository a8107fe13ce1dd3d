"""Run billing: settings from the environment, the parts from `app`, until told to stop."""

from services.billing.app import build_app, build_ops
from services.settings import load
from services.web.http import run_service


def main() -> None:
    """Serve until SIGTERM."""
    settings = load()
    app = build_app(settings)
    run_service("billing", app, build_ops(app), settings)


if __name__ == "__main__":
    main()
