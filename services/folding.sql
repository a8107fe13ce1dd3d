-- name: load_offset
-- Where a partition is read on from.
select topic_id, next, last_digest from consumer_offset where topic = $1 and partition = $2;

-- name: insert_offset
-- A partition that was never read begins at the log's beginning; a racer may have been quicker.
insert into consumer_offset (topic, partition, topic_id, next) values ($1, $2, $3, 0)
on conflict do nothing;

-- name: advance
-- The fence, first in the transaction: a partition whose row does not come back was moved on by
-- another owner. The rows are locked in the order of their key.
with owned as (
    select o.topic, o.partition, u.next, u.last_digest
    from unnest($1::text[], $2::int[], $3::uuid[], $4::bigint[], $5::bigint[], $6::bytea[])
        u (topic, partition, topic_id, first, next, last_digest)
    join consumer_offset o using (topic, partition)
    where o.topic_id = u.topic_id and o.next = u.first
    order by o.topic, o.partition for update of o
)
update consumer_offset o set next = owned.next, last_digest = owned.last_digest
from owned where o.topic = owned.topic and o.partition = owned.partition
returning o.topic, o.partition;

-- name: load_offsets
-- How far every partition has been applied.
select topic, partition, next from consumer_offset order by topic, partition;

-- name: insert_facts
-- One row per record. Not COPY: Postgres refuses that for a role under row-level security.
insert into fact (firm_id, topic, partition, "offset", kind, entity_id, placement_id, source,
                  event_id, type, event_time, received_at, principal, content_hash, body)
select * from unnest($1::text[], $2::text[], $3::int[], $4::bigint[], $5::text[], $6::text[],
                     $7::text[], $8::text[], $9::text[], $10::text[], $11::timestamptz[],
                     $12::timestamptz[], $13::text[], $14::bytea[], $15::bytea[]);

-- name: insert_quarantine
-- Records that could not be read, in the transaction that passes them by.
insert into quarantine (topic, partition, "offset", code, pointer, key, body, headers)
select * from unnest($1::text[], $2::int[], $3::bigint[], $4::text[], $5::text[], $6::bytea[],
                     $7::bytea[], $8::json[]);

-- name: load_versions
-- What entities are now: read before their facts, compared when they are saved.
select e.firm_id, e.kind, e.entity_id, e.row_version, e.records, e.failed
from unnest($1::text[], $2::text[], $3::text[]) u (firm_id, kind, entity_id)
join entity e using (firm_id, kind, entity_id);

-- name: load_facts
-- All facts of some entities.
select f.firm_id, f.kind, f.entity_id, f.topic, f.partition, f."offset", f.type, f.received_at,
       f.principal, f.content_hash, f.body
from unnest($1::text[], $2::text[], $3::text[]) u (firm_id, kind, entity_id)
join fact f using (firm_id, kind, entity_id);

-- name: save_entities
-- Compare and swap: a row comes back only where the version is still the one that was read. A row
-- that did not match stays locked, so the next round finds it as it is.
insert into entity (firm_id, kind, entity_id, row_version, records, failed)
select firm_id, kind, entity_id, version + 1, records, failed
from unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::text[])
    u (firm_id, kind, entity_id, version, records, failed)
order by firm_id, kind, entity_id
on conflict (firm_id, kind, entity_id) do update
set row_version = excluded.row_version, records = excluded.records, failed = excluded.failed
where entity.row_version = excluded.row_version - 1
returning firm_id, kind, entity_id;

-- name: fail_entity
-- A state that could not be saved: the entity is marked, its row is already locked.
update entity set failed = $4 where firm_id = $1 and kind = $2 and entity_id = $3;

-- name: queue_large
-- An entity with very many records is folded by the queue, once a minute. Its own row is locked by
-- now, so a row seen here will be folded with the fact that brought us, or folded again.
insert into refold (firm_id, kind, entity_id, reason, due_at)
select u.firm_id, u.kind, u.entity_id, 'large', now() + $4::interval
from unnest($1::text[], $2::text[], $3::text[]) u (firm_id, kind, entity_id)
where not exists (select 1 from refold r where (r.firm_id, r.kind, r.entity_id)
                                             = (u.firm_id, u.kind, u.entity_id));

-- name: queue_failed
-- Another version of the program may fold what this one's predecessor could not.
insert into refold (firm_id, kind, entity_id, reason)
select e.firm_id, e.kind, e.entity_id, 'failed' from entity e
where e.failed is not null
  and not exists (select 1 from refold r where (r.firm_id, r.kind, r.entity_id)
                                             = (e.firm_id, e.kind, e.entity_id));

-- name: claim_refolds
-- A slice of the queue that no other drainer holds; first of its transaction, so that a rebuild
-- waits for it here. Entities of more than $3 records are marked, to be folded one by one; a slice
-- ends where its entities have $4 records together.
with due as (
    select firm_id, refold_id, kind, entity_id from refold
    where due_at <= now() and kind = any($1::text[]) and reason <> 'large'
    order by firm_id, refold_id limit $2 for update skip locked
), weighed as materialized (
    select d.firm_id, d.refold_id, coalesce(e.records, 0) as records
    from due d left join entity e using (firm_id, kind, entity_id)
), marked as (
    update refold r set reason = 'large' from weighed w
    where r.firm_id = w.firm_id and r.refold_id = w.refold_id and w.records > $3
), slice as (
    select firm_id, refold_id from (
        select *, sum(records) over (order by firm_id, refold_id) as held
        from weighed where records <= $3
    ) w where held - records < $4
)
delete from refold r using slice s where r.firm_id = s.firm_id and r.refold_id = s.refold_id
returning r.firm_id, r.kind, r.entity_id;

-- name: put_off_large
-- The large entity that has waited longest, put off before its fold begins: an attempt that is cut
-- leaves the row where it lets others go first.
update refold r set due_at = now() + $2::interval from (
    select firm_id, refold_id from refold
    where due_at <= now() and kind = any($1::text[]) and reason = 'large'
    order by due_at, firm_id, refold_id limit 1 for update skip locked
) l where r.firm_id = l.firm_id and r.refold_id = l.refold_id
returning r.firm_id, r.refold_id;

-- name: claim_refold
-- The row of a large entity, first of its transaction; none where another drainer folds it.
delete from refold r using (
    select firm_id, refold_id from refold where firm_id = $1 and refold_id = $2
    for update skip locked
) c where r.firm_id = c.firm_id and r.refold_id = c.refold_id
returning r.firm_id, r.kind, r.entity_id;

-- name: allow_long_fold
-- Entities with very many records take longer between two statements than a poll may.
select set_config('idle_in_transaction_session_timeout', '60s', true);

-- name: is_caught_up
-- Offsets and queue together: nothing before these ends is still to be applied or folded again.
select not exists (select 1 from refold) and not exists (
    select 1 from unnest($1::text[], $2::int[], $3::bigint[]) e (topic, partition, log_end)
    left join consumer_offset o using (topic, partition)
    where e.log_end > coalesce(o.next, 0)
);

-- name: load_signs
-- What an operator must see: work that waits, and what went wrong.
select (select count(*) from refold) as refolds,
       (select count(*) from entity where failed is not null) as failed_entities,
       (select count(*) from quarantine) as quarantined,
       (select count(*) from placement
        where not known and stored_at < now() - interval '15 minutes') as unknown_placements;

-- name: lock_log
-- Whoever applies a poll takes consumer_offset first, whoever folds again takes refold first: in
-- this order a rebuild waits for both while they hold nothing that it has.
lock table consumer_offset, refold in access exclusive mode;

-- name: truncate_derived
-- Empty every table that comes from the log alone: its comment says so.
do $$
declare
    names text;
begin
    select string_agg(format('%I', c.relname), ', ' order by c.relname) into names
    from pg_class c
    where c.relnamespace = current_schema()::regnamespace and c.relkind in ('r', 'p')
      and obj_description(c.oid, 'pg_class') like 'derived%';
    execute 'truncate ' || names;
end
$$;
