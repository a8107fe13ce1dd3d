"""The simulated tools' exports: detailed CSV as Toggl Track and Clockify write them (pure)."""

import csv
import io
from collections.abc import Iterable
from datetime import datetime

from services.demo.workload import ToolRow

PROJECTS = {
    "document_prep": "Documents",
    "calendar_deadlines": "Calendar",
    "filing_service": "Filing",
    "matter_file": "Matter files",
    "client_comms": "Client mail",
    "intake": "Intake",
    "scheduling": "Scheduling",
    "inbox_admin": "Inbox",
}
TOGGL_COLUMNS = (
    "User,Email,Client,Project,Task,Description,Billable,"
    "Start date,Start time,End date,End time,Duration,Tags"
)
CLOCKIFY_COLUMNS = (
    "Project,Client,Description,Task,User,Group,Email,Tags,Billable,"
    "Start Date,Start Time,End Date,End Time,Duration (h),Duration (decimal),"
    "Billable Rate (USD),Billable Amount (USD)"
)


def _duration(row: ToolRow) -> str:
    seconds = int((row.ended_at - row.started_at).total_seconds())
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def _local(row: ToolRow) -> tuple[datetime, datetime]:
    zone = row.placement.zone
    return row.started_at.astimezone(zone), row.ended_at.astimezone(zone)


def _csv(columns: str, rows: Iterable[list[str]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(columns.split(","))
    writer.writerows(rows)
    return out.getvalue()


def toggl_csv(rows: Iterable[ToolRow]) -> str:
    """Write rows as Toggl's detailed export: ISO dates, 24-hour times in the user's zone."""

    def fields(row: ToolRow) -> list[str]:
        start, end = _local(row)
        who = row.placement.assistant_id
        return [
            who,
            f"{who}@example.com",
            row.placement.firm.firm_id,
            PROJECTS[row.task_type],
            "",
            "work on the file",
            "Yes" if row.billable else "No",
            f"{start:%Y-%m-%d}",
            f"{start:%H:%M:%S}",
            f"{end:%Y-%m-%d}",
            f"{end:%H:%M:%S}",
            _duration(row),
            "",
        ]

    return _csv(TOGGL_COLUMNS, map(fields, rows))


def clockify_csv(rows: Iterable[ToolRow]) -> str:
    """Write rows as Clockify's detailed export: MM/DD/YYYY and 12-hour times."""

    def fields(row: ToolRow) -> list[str]:
        start, end = _local(row)
        seconds = int((row.ended_at - row.started_at).total_seconds())
        who = row.placement.assistant_id
        return [
            PROJECTS[row.task_type],
            row.placement.firm.firm_id,
            "work on the file",
            "",
            who,
            "",
            f"{who}@example.com",
            "",
            "Yes" if row.billable else "No",
            f"{start:%m/%d/%Y}",
            f"{start:%I:%M:%S %p}",
            f"{end:%m/%d/%Y}",
            f"{end:%I:%M:%S %p}",
            _duration(row),
            f"{seconds * 100 // 3600 // 100}.{seconds * 100 // 3600 % 100:02}",
            "0.00",
            "0.00",
        ]

    return _csv(CLOCKIFY_COLUMNS, map(fields, rows))
