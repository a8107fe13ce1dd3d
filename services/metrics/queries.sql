-- name: save_tasks
-- Tasks as folded, whole sets at a time.
insert into task (firm_id, task_id, placement_id, first_at, last_at, is_closed, state)
select * from unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::timestamptz[],
                     $6::boolean[], $7::json[])
    u (firm_id, task_id, placement_id, first_at, last_at, is_closed, state)
order by u.firm_id, u.task_id
on conflict (firm_id, task_id) do update
set placement_id = excluded.placement_id, first_at = excluded.first_at,
    last_at = excluded.last_at, is_closed = excluded.is_closed, state = excluded.state;

-- name: remove_tasks
-- Tasks of which nothing stands any more.
delete from task t using unnest($1::text[], $2::text[]) u (firm_id, task_id)
where t.firm_id = u.firm_id and t.task_id = u.task_id;

-- name: save_escalations
-- Escalations as folded.
insert into escalation (firm_id, escalation_id, placement_id, raised_at, state)
select * from unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::json[])
    u (firm_id, escalation_id, placement_id, raised_at, state)
order by u.firm_id, u.escalation_id
on conflict (firm_id, escalation_id) do update
set placement_id = excluded.placement_id, raised_at = excluded.raised_at, state = excluded.state;

-- name: remove_escalations
-- Escalations of which nothing stands any more.
delete from escalation e using unnest($1::text[], $2::text[]) u (firm_id, escalation_id)
where e.firm_id = u.firm_id and e.escalation_id = u.escalation_id;

-- name: remove_segments
-- An entry's segments are replaced as a whole.
delete from segment s using unnest($1::text[], $2::text[]) u (firm_id, entry_id)
where s.firm_id = u.firm_id and s.entry_id = u.entry_id;

-- name: append_segments
-- The segments of some entries.
insert into segment (firm_id, entry_id, number, service_date, placement_id, assistant_id, role,
                     country, phase, task_type, task_id, kind, billable, standing, seconds)
select * from unnest($1::text[], $2::text[], $3::int[], $4::date[], $5::text[], $6::text[],
                     $7::text[], $8::text[], $9::text[], $10::text[], $11::text[], $12::text[],
                     $13::boolean[], $14::text[], $15::bigint[]);

-- name: load_tasks
-- A firm's tasks that a window may touch: there before its end, and changed or open after its start.
select state from task
where firm_id = $1 and first_at < $3 and (last_at >= $2 or not is_closed)
order by task_id;

-- name: load_task
-- One task.
select state from task where firm_id = $1 and task_id = $2;

-- name: load_escalations
-- A firm's escalations about no task, raised in a window.
select state from escalation where firm_id = $1 and raised_at >= $2 and raised_at < $3
order by escalation_id;

-- name: load_segments
-- A firm's hours on some dates.
select * from segment where firm_id = $1 and service_date >= $2 and service_date < $3
order by entry_id, number;

-- name: hash_states
-- Named state columns in a fixed order: equal logs give equal hashes.
select encode(sha256(convert_to(coalesce(string_agg(line, e'\n' order by line), ''), 'UTF8')), 'hex')
from (
    select concat_ws('|', 'task', firm_id, task_id, placement_id, first_at, last_at, is_closed, state::text) as line
    from task
    union all
    select concat_ws('|', 'escalation', firm_id, escalation_id, placement_id, raised_at, state::text)
    from escalation
    union all
    select concat_ws('|', 'segment', firm_id, entry_id, number, service_date, placement_id,
                     assistant_id, role, country, phase, task_type, task_id, kind, billable, standing, seconds)
    from segment
) lines;
