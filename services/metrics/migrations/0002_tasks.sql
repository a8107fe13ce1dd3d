-- Tasks, escalations and hours, as folded out of their facts: what every figure is computed from.

-- `state` is the whole folded task; the columns beside it are there to find it by.
create table task (
    firm_id             text        not null,
    task_id             text        not null,
    placement_id        text        not null,
    present             text        not null,
    first_at            timestamptz not null,
    requested_at        timestamptz,
    first_worked_at     timestamptz,
    first_submitted_at  timestamptz,
    first_reviewed_at   timestamptz,
    accepted_at         timestamptz,
    cancelled_at        timestamptz,
    closed_at           timestamptz,
    state               json        not null,
    primary key (firm_id, task_id)
);
create index task_requested on task (firm_id, requested_at);
create index task_worked on task (firm_id, first_worked_at);
create index task_submitted on task (firm_id, first_submitted_at);
create index task_reviewed on task (firm_id, first_reviewed_at);
create index task_accepted on task (firm_id, accepted_at) where accepted_at is not null;
create index task_cancelled on task (firm_id, cancelled_at) where cancelled_at is not null;
create index task_closed on task (firm_id, closed_at);
comment on table task is 'derived: tasks as their facts tell them';

-- Escalations about no task; the others are part of their tasks.
create table escalation (
    firm_id        text        not null,
    escalation_id  text        not null,
    placement_id   text        not null,
    raised_at      timestamptz,
    state          json        not null,
    primary key (firm_id, escalation_id)
);
create index escalation_raised on escalation (firm_id, raised_at);
comment on table escalation is 'derived: escalations about no task';

-- Time entries; an open one has the instant of the end that is known, and its place.
create table entry (
    firm_id       text        not null,
    entry_id      text        not null,
    placement_id  text        not null,
    status        text        not null check (status in ('open', 'closed', 'void')),
    version       text        not null,
    open_at       timestamptz,
    open_place    json,
    primary key (firm_id, entry_id)
);
create index entry_open on entry (firm_id, open_at) where open_at is not null;
comment on table entry is 'derived: time entries';

-- The parts of closed entries on the firm's dates: hours are summed from here.
create table segment (
    firm_id       text        not null,
    entry_id      text        not null,
    number        int         not null,
    service_date  date        not null,
    started_at    timestamptz,
    ended_at      timestamptz,
    seconds       bigint      not null check (seconds >= 0),
    placement_id  text        not null,
    assistant_id  text,
    role          text,
    country       text,
    phase         text,
    task_type     text        not null,
    task_id       text,
    matter_ref    text,
    kind          text        not null,
    billable      boolean     not null,
    standing      text        not null,
    primary key (firm_id, entry_id, number)
);
create index segment_date on segment (firm_id, service_date);
comment on table segment is 'derived: parts of entries by date';
