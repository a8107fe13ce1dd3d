-- A principal is whoever acts: a stable `role:id` that outlives every token of its own.
create table principal (
    principal_id text        primary key check (principal_id <> ''),
    kind         text        not null check (kind in (
        'tracker', 'firm', 'qa', 'connection', 'finance', 'approver', 'admin', 'auditor')),
    created_at   timestamptz not null default now(),
    disabled_at  timestamptz,
    unique (principal_id, kind)
);
comment on table principal is 'own';

-- A token's secret is nowhere: only its keyed hash is. '*' in a binding means all.
create table token (
    token_id     text        primary key check (token_id ~ '^[0-9A-Za-z]{16}$'),
    principal_id text        not null,
    kind         text        not null,
    hash         bytea       not null check (octet_length(hash) = 32),
    scopes       text[]      not null,
    firms        text[]      not null,
    placements   text[]      not null,
    sources      text[]      not null,
    label        text        not null,
    created_at   timestamptz not null,
    expires_at   timestamptz not null check (expires_at > created_at),
    revoked_at   timestamptz,
    foreign key (principal_id, kind) references principal (principal_id, kind)
);
comment on table token is 'own';
create index on token (principal_id);
