-- name: load_offset
-- Where a partition is read on from.
select topic_id, next from consumer_offset where topic = $1 and partition = $2;

-- name: insert_offset
-- A partition that was never read begins at the log's beginning; a racer may have been quicker.
insert into consumer_offset (topic, partition, topic_id, next) values ($1, $2, $3, $4)
on conflict do nothing;

-- name: advance
-- The fence, first in the transaction: no row means that another owner moved the partition on.
update consumer_offset set next = $4
where topic = $1 and partition = $2 and next = $3
returning next;

-- name: load_offsets
-- How far every partition has been applied.
select topic, partition, next from consumer_offset order by topic, partition;

-- name: load_versions
-- Row versions of entities, read before their facts.
select e.firm_id, e.kind, e.entity_id, e.row_version
from unnest($1::text[], $2::text[], $3::text[]) u (firm_id, kind, entity_id)
join entity e using (firm_id, kind, entity_id);

-- name: load_facts
-- All facts of some entities.
select f.firm_id, f.kind, f.entity_id, f.topic, f.partition, f."offset", f.received_at, f.principal, f.body
from unnest($1::text[], $2::text[], $3::text[]) u (firm_id, kind, entity_id)
join fact f using (firm_id, kind, entity_id);

-- name: insert_firm_stubs
-- A firm that nobody has told us of yet, so that there is a row to lock.
insert into firm (firm_id) select * from unnest($1::text[]) on conflict do nothing;

-- name: insert_placement_stubs
-- A placement that nobody has told us of yet, so that there is a row to lock.
insert into placement (firm_id, placement_id)
select * from unnest($1::text[], $2::text[]) on conflict do nothing;

-- name: insert_assistant_stubs
-- An assistant that nobody has told us of yet, so that there is a row to lock.
insert into assistant (assistant_id) select * from unnest($1::text[]) on conflict do nothing;

-- name: lock_firms_share
-- No firm changes under a fold; in the order of the key.
select firm_id from firm where firm_id = any($1::text[]) order by firm_id for share;

-- name: lock_placements_share
-- No placement changes under a fold; in the order of the key.
select p.firm_id from placement p
join unnest($1::text[], $2::text[]) u (firm_id, placement_id) using (firm_id, placement_id)
order by p.firm_id, p.placement_id for share of p;

-- name: lock_firms
-- A directory change owns its rows; in the order of the key.
select firm_id from firm where firm_id = any($1::text[]) order by firm_id for update;

-- name: lock_placements
-- A directory change owns its rows; in the order of the key.
select p.firm_id from placement p
join unnest($1::text[], $2::text[]) u (firm_id, placement_id) using (firm_id, placement_id)
order by p.firm_id, p.placement_id for update of p;

-- name: lock_assistants
-- A directory change owns its rows; in the order of the key.
select assistant_id from assistant where assistant_id = any($1::text[])
order by assistant_id for update;

-- name: load_firms
-- Timelines, read after their rows are locked.
select firm_id, state from firm where known and firm_id = any($1::text[]);

-- name: load_placements
-- Timelines, read after their rows are locked.
select p.firm_id, p.placement_id, p.state from placement p
join unnest($1::text[], $2::text[]) u (firm_id, placement_id) using (firm_id, placement_id)
where p.known;

-- name: save_entities
-- Compare and swap: a row comes back only where the version is still the one that was read.
insert into entity (firm_id, kind, entity_id, row_version, failed)
select firm_id, kind, entity_id, version + 1, failed
from unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[])
    u (firm_id, kind, entity_id, version, failed)
order by firm_id, kind, entity_id
on conflict (firm_id, kind, entity_id) do update
set row_version = excluded.row_version, failed = excluded.failed
where entity.row_version = excluded.row_version - 1
returning firm_id, kind, entity_id;

-- name: save_firms
-- The timelines of firms, as folded.
update firm f set known = u.state is not null, state = u.state
from unnest($1::text[], $2::json[]) u (firm_id, state) where f.firm_id = u.firm_id;

-- name: save_placements
-- The timelines of placements, as folded.
update placement p set known = u.state is not null, state = u.state
from unnest($1::text[], $2::text[], $3::json[]) u (firm_id, placement_id, state)
where p.firm_id = u.firm_id and p.placement_id = u.placement_id;

-- name: save_assistants
-- The timelines of assistants, as folded.
update assistant a set known = u.state is not null, state = u.state
from unnest($1::text[], $2::json[]) u (assistant_id, state) where a.assistant_id = u.assistant_id;

-- name: queue_of_placements
-- Every entity with a fact that names a changed placement is folded again.
insert into refold (firm_id, kind, entity_id, reason)
select distinct f.firm_id, f.kind, f.entity_id, 'placement'
from unnest($1::text[], $2::text[]) u (firm_id, placement_id)
join fact f using (firm_id, placement_id)
where f.kind in ('task', 'escalation', 'entry');

-- name: queue_of_firms
-- Every entity of a changed firm is folded again.
insert into refold (firm_id, kind, entity_id, reason)
select e.firm_id, e.kind, e.entity_id, 'firm' from entity e
where e.firm_id = any($1::text[]) and e.kind in ('task', 'escalation', 'entry');

-- name: claim_refolds
-- A slice of the queue, that no other drainer holds.
delete from refold r using (
    select firm_id, refold_id from refold order by refold_id limit $1 for update skip locked
) c where r.firm_id = c.firm_id and r.refold_id = c.refold_id
returning r.firm_id, r.kind, r.entity_id;

-- name: count_refolds
-- How much waits to be folded again.
select count(*) from refold;

-- name: derived_tables
-- What a rebuild empties.
select quote_ident(c.relname) as name from pg_class c
where c.relnamespace = current_schema()::regnamespace and c.relkind in ('r', 'p')
  and obj_description(c.oid, 'pg_class') like 'derived%'
order by c.relname;

-- name: insert_facts
-- One row per record. Not COPY: Postgres refuses that for a role under row-level security.
insert into fact (firm_id, topic, partition, "offset", kind, entity_id, placement_id, source,
                  event_id, type, event_time, received_at, principal, content_hash, body)
select * from unnest($1::text[], $2::text[], $3::int[], $4::bigint[], $5::text[], $6::text[],
                     $7::text[], $8::text[], $9::text[], $10::text[], $11::timestamptz[],
                     $12::timestamptz[], $13::text[], $14::bytea[], $15::bytea[]);
