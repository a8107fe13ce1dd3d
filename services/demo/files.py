"""A simulated workload as files, in the form that the commands `send` and `import` read."""

from pathlib import Path

from services.demo.exports import PROJECTS, clockify_csv, toggl_csv
from services.demo.workload import Workload, by_principal
from services.demo.world import Placement

WRITERS = {"toggl": toggl_csv, "clockify": clockify_csv}


def mapping_toml(placements: tuple[Placement, ...]) -> str:
    """Write the rules that turn a tool's user and project into a placement and a task type."""
    rules = [
        "\n".join(
            [
                "[[rule]]",
                f'user = "{placement.assistant_id}"',
                f'project = "{project}"',
                f'firm_id = "{placement.firm.firm_id}"',
                f'placement_id = "{placement.placement_id}"',
                f'task_type = "{task_type}"',
            ]
        )
        for placement in placements
        for task_type, project in PROJECTS.items()
    ]
    return "\n\n".join(rules) + "\n"


def write_workload(workload: Workload, folder: Path) -> list[Path]:
    """Write the directory, every sender's events and every tool's export; return the paths.

    `directory.ndjson` and `events/ROLE-ID.ndjson` hold one event a line in the order of sending;
    each placement that uses a tool gets `exports/TOOL-PLACEMENT.csv` and the mapping beside it.
    """
    (folder / "events").mkdir(parents=True, exist_ok=True)
    (folder / "exports").mkdir(exist_ok=True)
    paths = [folder / "directory.ndjson"]
    paths[0].write_bytes(b"".join(sent.body + b"\n" for sent in workload.directory))
    for principal, events in by_principal(workload.events):
        path = folder / "events" / f"{principal.replace(':', '-')}.ndjson"
        path.write_bytes(b"".join(sent.body + b"\n" for sent in events))
        paths.append(path)
    for placement in workload.world.placements:
        if placement.tool == "tracker":
            continue
        name = f"{placement.tool}-{placement.placement_id}"
        rows = [row for row in workload.tool_rows if row.placement == placement]
        export = folder / "exports" / f"{name}.csv"
        export.write_text(WRITERS[placement.tool](rows), encoding="utf-8", newline="")
        mapping = folder / "exports" / f"{name}.toml"
        mapping.write_text(mapping_toml((placement,)), encoding="utf-8")
        paths += [export, mapping]
    return paths
