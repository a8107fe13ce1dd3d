-- name: are_stubs_missing
-- Whether facts name a firm or placement of which there is no row yet: they seldom do.
select exists (select from unnest($1::text[]) u (firm_id)
               where not exists (select from firm f where f.firm_id = u.firm_id))
    or exists (select from unnest($2::text[], $3::text[]) u (firm_id, placement_id)
               where not exists (select from placement p where p.firm_id = u.firm_id
                                                          and p.placement_id = u.placement_id));

-- name: insert_firm_stubs
-- A firm that nobody has told us of yet, so that there is a row to lock.
insert into firm (firm_id) select f from unnest($1::text[]) f order by f on conflict do nothing;

-- name: insert_placement_stubs
-- A placement that nobody has told us of yet, so that there is a row to lock.
insert into placement (firm_id, placement_id)
select f, p from unnest($1::text[], $2::text[]) u (f, p) order by f, p on conflict do nothing;

-- name: insert_assistant_stubs
-- An assistant that nobody has told us of yet, so that there is a row to lock.
insert into assistant (assistant_id)
select a from unnest($1::text[]) a order by a on conflict do nothing;

-- name: share_firms
-- No firm changes under a fold; in the order of the key. A row that was waited for comes as its
-- last owner left it: a locked row's own columns are read once the lock is had.
select firm_id, state from firm where firm_id = any($1::text[]) order by firm_id for share;

-- name: share_placements
-- No placement changes under a fold; likewise.
select p.firm_id, p.placement_id, p.state from placement p
join unnest($1::text[], $2::text[]) u (firm_id, placement_id) using (firm_id, placement_id)
order by p.firm_id, p.placement_id for share of p;

-- name: lock_firms
-- A directory change owns its rows; in the order of the key.
select firm_id from firm where firm_id = any($1::text[]) order by firm_id for update;

-- name: lock_placements
-- A directory change owns its rows; in the order of the key.
select p.placement_id from placement p
join unnest($1::text[], $2::text[]) u (firm_id, placement_id) using (firm_id, placement_id)
order by p.firm_id, p.placement_id for update of p;

-- name: lock_assistants
-- A directory change owns its rows; in the order of the key.
select assistant_id from assistant where assistant_id = any($1::text[])
order by assistant_id for update;

-- name: load_firm
-- A firm, for whoever reads.
select state from firm where firm_id = $1 and known;

-- name: load_placements_of_firm
-- A firm's whole directory, for whoever reads.
select firm_id, placement_id, state from placement where firm_id = $1 and known;

-- name: save_firms
-- The timelines of firms, as folded; only what changed comes back.
update firm f set known = u.state is not null, state = u.state::json
from unnest($1::text[], $2::text[]) u (firm_id, state)
where f.firm_id = u.firm_id and f.state::text is distinct from u.state
returning f.firm_id;

-- name: save_placements
-- The timelines of placements, as folded; only what changed comes back.
update placement p set known = u.state is not null, state = u.state::json
from unnest($1::text[], $2::text[], $3::text[]) u (firm_id, placement_id, state)
where p.firm_id = u.firm_id and p.placement_id = u.placement_id
  and p.state::text is distinct from u.state
returning p.firm_id, p.placement_id;

-- name: save_assistants
-- The timelines of assistants, as folded.
update assistant a set known = u.state is not null, state = u.state::json
from unnest($1::text[], $2::text[]) u (assistant_id, state)
where a.assistant_id = u.assistant_id and a.state::text is distinct from u.state;

-- name: note_entities
-- Directory entities keep no version, their own rows are locked; but a failed one is shown here.
insert into entity (firm_id, kind, entity_id, row_version, records, failed)
select firm_id, kind, entity_id, 1, records, failed
from unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[])
    u (firm_id, kind, entity_id, records, failed)
order by firm_id, kind, entity_id
on conflict (firm_id, kind, entity_id) do update
set row_version = entity.row_version + 1, records = excluded.records, failed = excluded.failed;

-- name: queue_of_placements
-- Every entity with a fact that names a changed placement is folded again. One that is queued
-- already is not queued twice: whoever folds it waits for our lock and reads what we write.
insert into refold (firm_id, kind, entity_id, reason)
select distinct f.firm_id, f.kind, f.entity_id, 'placement'
from unnest($1::text[], $2::text[]) u (firm_id, placement_id)
join fact f using (firm_id, placement_id)
where f.kind = any($3::text[])
  and not exists (select 1 from refold r where (r.firm_id, r.kind, r.entity_id)
                                             = (f.firm_id, f.kind, f.entity_id));

-- name: queue_of_firms
-- Every entity of a changed firm is folded again.
insert into refold (firm_id, kind, entity_id, reason)
select e.firm_id, e.kind, e.entity_id, 'firm' from entity e
where e.firm_id = any($1::text[]) and e.kind = any($2::text[])
  and not exists (select 1 from refold r where (r.firm_id, r.kind, r.entity_id)
                                             = (e.firm_id, e.kind, e.entity_id));
