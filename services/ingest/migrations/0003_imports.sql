-- What came from files. Persons and rows stand here as keyed hashes only: nobody's name, address or
-- words are kept. All rows are written before their events go on the log, so that no second file
-- can bring other hours for a day while the outcome of the first is unknown.

-- What a file of a kind said of a person's day, as a hash over all of its rows of that day.
create table import_day (
    firm_id      text        not null check (firm_id <> ''),
    format       text        not null,
    person       text        not null,
    day          date        not null,
    day_hash     bytea       not null,
    imported_at  timestamptz not null default now(),
    principal    text        not null,
    primary key (firm_id, format, person, day)
);
create index import_day_person on import_day (format, person, day);
comment on table import_day is 'own: days that a file has told';

-- A row that became an event; the event's id and entry are named after it.
create table import_row (
    firm_id       text        not null check (firm_id <> ''),
    row_id        text        not null,
    content_hash  bytea       not null,
    imported_at   timestamptz not null default now(),
    primary key (firm_id, row_id)
);
create index import_row_id on import_row (row_id);
comment on table import_row is 'own: rows of files that became events';

-- That a row's event is on the log, noted once Kafka has confirmed it.
create table import_sent (
    firm_id  text        not null check (firm_id <> ''),
    row_id   text        not null,
    sent_at  timestamptz not null default now(),
    primary key (firm_id, row_id)
);
comment on table import_sent is 'own: rows whose events the log has confirmed';
