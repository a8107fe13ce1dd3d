-- All SQL of ingest.

-- name: load_firms_of_placements
-- Find whose each placement is: an event that names it under another firm is refused at the door.
select placement_id, min(firm_id) as firm_id
from placement
where known and placement_id = any($1::text[])
group by placement_id;

-- name: lock_imports
-- Let one import at a time look at what is known and claim its rows; it is short.
select pg_advisory_xact_lock(hashtextextended('ingest.import', 0));

-- name: load_import_days
-- Find what earlier files of a kind said of some persons' days.
select person, day, day_hash
from import_day
join unnest($2::text[], $3::date[]) as asked (person, day) using (person, day)
where format = $1;

-- name: load_import_rows
-- Find rows that earlier files brought, and whether the log is known to have them.
select firm_id, row_id, content_hash, sent.row_id is not null as is_sent
from import_row
left join import_sent as sent using (firm_id, row_id)
where row_id = any($1::text[]);

-- name: append_import_days
-- Claim persons' days for what this file says of them; a repeat of the same file finds them there.
insert into import_day (firm_id, format, person, day, day_hash, principal)
select firm_id, $1, person, day, day_hash, $2
from unnest($3::text[], $4::text[], $5::date[], $6::bytea[])
    as new (firm_id, person, day, day_hash)
on conflict (firm_id, format, person, day) do nothing;

-- name: append_import_rows
-- Claim rows before their events go on the log.
insert into import_row (firm_id, row_id, content_hash)
select * from unnest($1::text[], $2::text[], $3::bytea[]);

-- name: append_import_sent
-- Note that the log has rows' events; of two that sent them at once, one finds it noted.
insert into import_sent (firm_id, row_id)
select * from unnest($1::text[], $2::text[])
on conflict (firm_id, row_id) do nothing;
