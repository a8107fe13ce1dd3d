-- Entries as folded out of their facts, with their segments under today's directory.
create table entry (
    firm_id       text not null,
    entry_id      text not null,
    placement_id  text not null,
    assistant_id  text,
    state         json not null,
    segments      json not null,
    primary key (firm_id, entry_id)
);
create index entry_of_assistant on entry (assistant_id, firm_id) where assistant_id is not null;
comment on table entry is 'derived: time entries and their segments';

-- The rate card. A correction supersedes by reference; among rows in force the database itself
-- refuses two for one date. '*' applies to all: NULL would never conflict.
create table rate (
    firm_id       text        not null default '*' check (firm_id <> ''),
    rate_id       text        not null,
    placement_id  text        not null default '*' check (placement_id = '*' or firm_id <> '*'),
    country       text        not null default '*',
    role          text        not null default '*',
    phase         text        not null default '*',
    currency      text        not null check (currency ~ '^[A-Z]{3}$'),
    rate_e4       bigint      not null check (rate_e4 >= 0),
    valid         daterange   not null check (not isempty(valid) and not lower_inf(valid)),
    actor         text        not null,
    decided_at    timestamptz not null,
    superseded_at timestamptz,
    primary key (firm_id, rate_id),
    exclude using gist (firm_id with =, placement_id with =, country with =, role with =,
                        phase with =, valid with &&) where (superseded_at is null)
);
comment on table rate is 'own: what an hour costs';

create table terms (
    firm_id            text        not null,
    version            int         not null check (version > 0),
    effective_month    date        not null check (extract(day from effective_month) = 1),
    approval           text        not null check (approval in ('none', 'required')),
    increment_minutes  int         not null check (increment_minutes in (0, 6, 15)),
    direction          text        not null check (direction in ('up', 'nearest', 'down')),
    excluded_kinds     text[]      not null,
    excluded_phases    text[]      not null,
    actor              text        not null,
    decided_at         timestamptz not null,
    primary key (firm_id, version)
);
comment on table terms is 'own: how a firm is billed';

create table approval (
    firm_id     text        not null,
    entry_id    text        not null,
    version     text        not null,
    actor       text        not null,
    decided_at  timestamptz not null,
    primary key (firm_id, entry_id, version)
);
comment on table approval is 'own: entry versions that the firm approved';

-- A month run and the cut that it pinned; its firms are listed once that is applied.
create table run (
    run_id      text        not null primary key,
    period      date        not null,
    dry_run     boolean     not null,
    ends        jsonb       not null,
    instant     timestamptz not null,
    actor       text        not null,
    request_key text,
    request     jsonb       not null,
    listed      boolean     not null default false,
    unique (actor, request_key)
);
comment on table run is 'own: month runs and their cuts';

create table run_firm (
    firm_id     text    not null,
    run_id      text    not null references run,
    done        boolean not null default false,
    report      json,
    invoice_id  text,
    primary key (firm_id, run_id)
);
create index run_firm_waiting on run_firm (run_id, firm_id) where not done;
comment on table run_firm is 'own: what a run decided about each firm';

create table invoice (
    firm_id         text        not null,
    invoice_id      text        not null,
    period          date        not null,
    run_id          text        not null,
    state           text        not null check (state in ('draft', 'approved', 'issued', 'superseded')),
    currency        text        not null,
    total_minor     bigint      not null,
    content         bytea       not null,
    issued_digest   text        not null,
    blocked         jsonb       not null,
    number          text,
    series          text,
    predecessor     text,
    content_sha256  text,
    sha256          text,
    body            bytea,
    primary key (firm_id, invoice_id),
    check ((state = 'issued') = (body is not null))
);
create unique index invoice_issued_once on invoice (firm_id, period) where state = 'issued';
create unique index invoice_open_once on invoice (firm_id, period) where state in ('draft', 'approved');
comment on table invoice is 'own: drafts and issued invoices';

-- Issued invoices do not change, and nothing but the state leads there.
create function keep_issued() returns trigger language plpgsql as $$
begin
    if tg_op = 'DELETE' or old.state in ('issued', 'superseded') or new.content <> old.content
       or new.firm_id <> old.firm_id or new.invoice_id <> old.invoice_id or new.period <> old.period then
        raise exception 'an invoice is immutable' using errcode = 'restrict_violation';
    end if;
    return new;
end $$;
create trigger invoice_immutable before update or delete on invoice
for each row execute function keep_issued();

-- A month of a firm that is closed: by an invoice, or without a document. It pins what prices it.
create table settlement (
    firm_id     text        not null,
    period      date        not null,
    run_id      text        not null,
    invoice_id  text,
    actor       text        not null,
    decided_at  timestamptz not null,
    primary key (firm_id, period)
);
comment on table settlement is 'own: months that are settled, and by which run';

-- Gapless numbers: one row a series, and one a number, taken in the transaction that issues.
create table series (
    series     text not null primary key,
    last       int  not null check (last >= 0),
    head       text
);
comment on table series is 'own: invoice numbers and the head of the chain';
create table series_number (
    series      text not null references series,
    number      int  not null,
    invoice_id  text not null unique,
    sha256      text not null,
    primary key (series, number)
);
comment on table series_number is 'own: which invoice carries which number';
