-- The trail of a schema: one row for each change of state and each use of the office role, written
-- in the transaction of the change. firm_id '*' is what concerns no single firm. A sealer reads
-- rows in the order (xid, audit_id) below the oldest running transaction, so none is overtaken.
create table audit (
    firm_id   text        not null default '*' check (firm_id <> ''),
    audit_id  bigint      generated always as identity,
    xid       xid8        not null default pg_current_xact_id(),
    at        timestamptz not null default now(),
    actor     text        not null check (actor <> ''),
    action    text        not null check (action <> ''),
    subject   text        not null,
    details   jsonb       not null default '{}',
    primary key (firm_id, audit_id)
);
comment on table audit is 'own';
