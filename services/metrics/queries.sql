-- name: remove_tasks
-- Tasks of which nothing stands any more.
delete from task t using unnest($1::text[], $2::text[]) u (firm_id, id)
where t.firm_id = u.firm_id and t.task_id = u.id;

-- name: save_tasks
-- Tasks as just folded; the fold's caller holds their versions.
insert into task (firm_id, task_id, placement_id, present, first_at, requested_at, first_worked_at,
                  first_submitted_at, first_reviewed_at, accepted_at, cancelled_at, open_until, state)
select * from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[],
                     $6::timestamptz[], $7::timestamptz[], $8::timestamptz[], $9::timestamptz[],
                     $10::timestamptz[], $11::timestamptz[], $12::timestamptz[], $13::json[])
on conflict (firm_id, task_id) do update
set placement_id = excluded.placement_id, present = excluded.present, first_at = excluded.first_at,
    requested_at = excluded.requested_at, first_worked_at = excluded.first_worked_at,
    first_submitted_at = excluded.first_submitted_at,
    first_reviewed_at = excluded.first_reviewed_at, accepted_at = excluded.accepted_at,
    cancelled_at = excluded.cancelled_at, open_until = excluded.open_until, state = excluded.state;

-- name: remove_escalations
-- Escalations of which nothing stands any more.
delete from escalation e using unnest($1::text[], $2::text[]) u (firm_id, id)
where e.firm_id = u.firm_id and e.escalation_id = u.id;

-- name: save_escalations
-- Escalations about no task, as just folded.
insert into escalation (firm_id, escalation_id, placement_id, raised_at, state)
select * from unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::json[])
on conflict (firm_id, escalation_id) do update
set placement_id = excluded.placement_id, raised_at = excluded.raised_at, state = excluded.state;

-- name: remove_entries
-- Entries of which nothing stands any more.
delete from entry e using unnest($1::text[], $2::text[]) u (firm_id, id)
where e.firm_id = u.firm_id and e.entry_id = u.id;

-- name: save_entries
-- Entries as just folded.
insert into entry (firm_id, entry_id, placement_id, status, version, open_at, open_place)
select * from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[],
                     $6::timestamptz[], $7::json[])
on conflict (firm_id, entry_id) do update
set placement_id = excluded.placement_id, status = excluded.status, version = excluded.version,
    open_at = excluded.open_at, open_place = excluded.open_place;

-- name: remove_segments
-- All parts of some entries: the new ones may be fewer.
delete from segment s using unnest($1::text[], $2::text[]) u (firm_id, id)
where s.firm_id = u.firm_id and s.entry_id = u.id;

-- name: insert_segments
-- The parts of entries as just split.
insert into segment (firm_id, entry_id, number, service_date, started_at, ended_at, seconds,
                     placement_id, assistant_id, role, country, phase, task_type, task_id,
                     matter_ref, kind, billable, standing)
select * from unnest($1::text[], $2::text[], $3::int[], $4::date[], $5::timestamptz[],
                     $6::timestamptz[], $7::bigint[], $8::text[], $9::text[], $10::text[],
                     $11::text[], $12::text[], $13::text[], $14::text[], $15::text[], $16::text[],
                     $17::boolean[], $18::text[]);

-- name: load_tasks
-- Tasks that anchor in [$2, $3) in any way; whoever measures looks at which.
select present, first_at, requested_at, first_worked_at, first_submitted_at, first_reviewed_at,
       accepted_at, cancelled_at, open_until, state
from task
where firm_id = $1
  and (requested_at >= $2 and requested_at < $3
       or first_worked_at >= $2 and first_worked_at < $3
       or first_submitted_at >= $2 and first_submitted_at < $3
       or first_reviewed_at >= $2 and first_reviewed_at < $3
       or accepted_at >= $2 and accepted_at < $3
       or cancelled_at >= $2 and cancelled_at < $3)
order by task_id;

-- name: load_tasks_and_open
-- The same, and those that were open at some moment of [$2, $3): stock is rebuilt from them.
select present, first_at, requested_at, first_worked_at, first_submitted_at, first_reviewed_at,
       accepted_at, cancelled_at, open_until, state
from task
where firm_id = $1
  and (requested_at >= $2 and requested_at < $3
       or first_worked_at >= $2 and first_worked_at < $3
       or first_submitted_at >= $2 and first_submitted_at < $3
       or first_reviewed_at >= $2 and first_reviewed_at < $3
       or accepted_at >= $2 and accepted_at < $3
       or cancelled_at >= $2 and cancelled_at < $3
       or first_at < $3 and (open_until is null or open_until > $2))
order by task_id;

-- name: load_escalations
-- Escalations about no task that were raised in [$2, $3).
select state from escalation where firm_id = $1 and raised_at >= $2 and raised_at < $3
order by escalation_id;

-- name: load_worked
-- Parts of entries on the dates [$2, $3): the place first, in the order of its fields.
select placement_id, standing <> 'unknown_placement' as is_known, assistant_id, role, country,
       phase, task_type, entry_id, service_date, started_at, seconds::int
from segment where firm_id = $1 and service_date >= $2 and service_date < $3
order by service_date, entry_id, number;

-- name: load_open_entries
-- Timers without an end, or without a start, by the instant that is known, in [$2, $3).
select entry_id, open_at, open_place from entry
where firm_id = $1 and open_at >= $2 and open_at < $3
order by entry_id;

-- name: load_cut
-- How far the log has told us of a firm: the offset after its last fact in each partition. A loose
-- scan of the primary key, so that it costs the same for ten facts and ten million. The last row
-- counts the entities whose last fold failed: they are in no figure.
with recursive place as (
    (select topic, partition, "offset" from fact where firm_id = $1
     order by topic desc, partition desc, "offset" desc limit 1)
    union all
    select n.topic, n.partition, n."offset"
    from place p cross join lateral (
        select f.topic, f.partition, f."offset" from fact f
        where f.firm_id = $1 and (f.topic, f.partition) < (p.topic, p.partition)
        order by f.topic desc, f.partition desc, f."offset" desc limit 1
    ) n
)
select topic, partition, "offset" + 1 as next from place
union all select null, null, count(*) from entity where firm_id = $1 and failed is not null
order by topic nulls last, partition;

-- name: load_task_states
-- Everything that a task's row says, to be hashed.
select firm_id, task_id, placement_id, present, first_at, requested_at, first_worked_at,
       first_submitted_at, first_reviewed_at, accepted_at, cancelled_at, open_until, state
from task order by firm_id, task_id;

-- name: load_escalation_states
-- Everything that an escalation's row says, to be hashed.
select firm_id, escalation_id, placement_id, raised_at, state
from escalation order by firm_id, escalation_id;

-- name: load_entry_states
-- Everything that an entry's row says, to be hashed.
select firm_id, entry_id, placement_id, status, version, open_at, open_place
from entry order by firm_id, entry_id;

-- name: load_segment_states
-- Everything that a part of an entry says, to be hashed.
select firm_id, entry_id, number, service_date, started_at, ended_at, seconds, placement_id,
       assistant_id, role, country, phase, task_type, task_id, matter_ref, kind, billable, standing
from segment order by firm_id, entry_id, number;

-- name: load_directory_states
-- The directory as this house folded it, to be hashed.
select 'firm' as kind, firm_id, '' as id, known, state::text from firm
union all select 'placement', firm_id, placement_id, known, state::text from placement
union all select 'assistant', '', assistant_id, known, state::text from assistant
order by 1, 2, 3;
