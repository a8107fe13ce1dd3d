"""Exports as the tools write them, for one assistant of one firm."""

TOGGL = (
    "User,Email,Client,Project,Task,Description,Billable,"
    "Start date,Start time,End date,End time,Duration,Tags"
)
CLOCKIFY = (
    "Project,Client,Description,Task,User,Group,Email,Tags,Billable,"
    "Start Date,Start Time,End Date,End Time,Duration (h),Duration (decimal)"
)
RULES = """
[[rule]]
user = "maria@example.com"
placement_id = "p-1"
firm_id = "f-1"

[[rule]]
project = "Intake"
task_type = "intake"

[[rule]]
project = "Mail"
task_type = "inbox_admin"
"""


def toggl(
    start="2026-07-01 09:00:00",
    end="2026-07-01 10:00:00",
    *,
    user="Maria",
    email="maria@example.com",
    client="Hartwell",
    project="Intake",
    description="call with the clerk",
    billable="Yes",
    tags="",
):
    return (
        f'{user},{email},{client},{project},,"{description}",{billable},'
        f'{start.replace(" ", ",")},{end.replace(" ", ",")},01:00:00,"{tags}"'
    )


def clockify(
    start="07/01/2026 09:00:00 AM",
    end="07/01/2026 10:00:00 AM",
    *,
    user="Maria",
    email="maria@example.com",
    project="Intake",
    billable="Yes",
):
    return (
        f"{project},Hartwell,call with the clerk,,{user},,{email},,{billable},"
        f"{start.replace(' ', ',', 1)},{end.replace(' ', ',', 1)},01:00:00,1.00"
    )


def file_of(header, *rows):
    return "\r\n".join([header, *rows, ""]).encode()
