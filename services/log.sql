-- What every house that reads the log keeps of it. All of it but the trail is derived: a rebuild
-- truncates it and reads the log again. Keys begin with firm_id; firm '-' is what has no firm.

-- How far each partition has been read. The update of `next` is the fence against a second owner.
create table consumer_offset (
    topic      text        not null,
    partition  int         not null,
    topic_id   uuid        not null,
    next       bigint      not null check (next >= 0),
    primary key (topic, partition)
);
comment on table consumer_offset is 'derived: the first offset of each partition not yet applied';

-- The log, indexed: one row per record of an entity kind that the house folds.
create table fact (
    firm_id       text        not null,
    topic         text        not null,
    partition     int         not null,
    "offset"      bigint      not null,
    kind          text        not null,
    entity_id     text        not null,
    placement_id  text,
    source        text        not null,
    event_id      text        not null,
    type          text        not null,
    event_time    timestamptz not null,
    received_at   timestamptz not null,
    stored_at     timestamptz not null default now(),
    principal     text        not null,
    content_hash  bytea       not null,
    body          bytea       not null,
    primary key (firm_id, topic, partition, "offset")
);
create index fact_entity on fact (firm_id, kind, entity_id);
create index fact_identity on fact (firm_id, source, event_id);
create index fact_placement on fact (firm_id, placement_id) where placement_id is not null;
comment on table fact is 'derived: one row per record of the log';

-- The row version of each folded entity: what a concurrent fold is compared with. `records` counts
-- its facts, so that one with very many is told before they are read.
create table entity (
    firm_id      text   not null,
    kind         text   not null,
    entity_id    text   not null,
    row_version  bigint not null,
    records      bigint not null default 0,
    failed       text,
    primary key (firm_id, kind, entity_id)
);
create index entity_failed on entity (firm_id, kind) where failed is not null;
comment on table entity is 'derived: row versions, and why a fold failed';

-- Entities to fold again, from the moment `due_at` on: the directory changed under them, or they
-- have so many records that not every poll folds them.
create table refold (
    firm_id    text        not null,
    refold_id  bigint      generated always as identity,
    kind       text        not null,
    entity_id  text        not null,
    reason     text        not null,
    queued_at  timestamptz not null default now(),
    due_at     timestamptz not null default now(),
    primary key (firm_id, refold_id)
);
create index refold_entity on refold (firm_id, kind, entity_id);
comment on table refold is 'derived: entities to fold again';

-- Records that could not be read, kept as they came. `headers` is a list of [name, value], each
-- value in latin-1; json and not jsonb, which refuses some of what a header may hold.
create table quarantine (
    quarantine_id  bigint      generated always as identity primary key,
    topic          text        not null,
    partition      int         not null,
    "offset"       bigint      not null,
    code           text        not null,
    pointer        text        not null,
    key            bytea,
    body           bytea,
    headers        json        not null,
    stored_at      timestamptz not null default now(),
    unique (topic, partition, "offset")
);
comment on table quarantine is 'derived: records that could not be read';

-- The directory's timelines as this house folded them; a stub (known false) waits for its events.
create table firm (
    firm_id    text        not null primary key,
    known      boolean     not null default false,
    state      json,
    stored_at  timestamptz not null default now()
);
comment on table firm is 'derived: zone, currency and calendars of a firm';

create table placement (
    firm_id       text        not null,
    placement_id  text        not null,
    known         boolean     not null default false,
    state         json,
    stored_at     timestamptz not null default now(),
    primary key (firm_id, placement_id)
);
comment on table placement is 'derived: who works for whom, when, where and as what';

create table assistant (
    assistant_id  text        not null primary key,
    known         boolean     not null default false,
    state         json,
    stored_at     timestamptz not null default now()
);
comment on table assistant is 'derived: the agency''s assistants';
