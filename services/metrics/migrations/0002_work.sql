-- A task with its place; `state` is a PlacedTask. The instants say which figures may need it: it
-- was there from first_at on, and nothing of it changed after last_at.
create table task (
    firm_id       text        not null,
    task_id       text        not null,
    placement_id  text        not null,
    first_at      timestamptz not null,
    last_at       timestamptz not null,
    is_closed     boolean     not null,
    state         json        not null,
    primary key (firm_id, task_id)
);
create index task_span on task (firm_id, first_at, last_at);
comment on table task is 'derived: tasks as folded';

-- Escalations about no task; `state` is a PlacedEscalation.
create table escalation (
    firm_id        text        not null,
    escalation_id  text        not null,
    placement_id   text        not null,
    raised_at      timestamptz not null,
    state          json        not null,
    primary key (firm_id, escalation_id)
);
create index escalation_raised on escalation (firm_id, raised_at);
comment on table escalation is 'derived: escalations about no task';

-- The hours worked: segments of entries, split at the firm's midnights.
create table segment (
    firm_id       text   not null,
    entry_id      text   not null,
    number        int    not null,
    service_date  date   not null,
    placement_id  text   not null,
    assistant_id  text,
    role          text,
    country       text,
    phase         text,
    task_type     text,
    task_id       text,
    kind          text,
    billable      boolean,
    standing      text   not null,
    seconds       bigint not null,
    primary key (firm_id, entry_id, number)
);
create index segment_date on segment (firm_id, service_date);
comment on table segment is 'derived: hours worked by date';
