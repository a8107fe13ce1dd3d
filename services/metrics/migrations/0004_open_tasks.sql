-- Until when a task was open: null while it is. A task that was handed in is not, so that those that
-- nobody ever reviews are no longer read for every later week, as they were by `closed_at`.
alter table task add column open_until timestamptz;

-- Out of the states that are stored: since the first after the last that is open. The walls hold for
-- the owner too, who has no policy of its own: they are let down for this statement.
alter table task no force row level security;
update task t set open_until = (
    select min((after.state ->> 'since')::timestamptz)
    from json_array_elements(t.state -> 'task' -> 'states') with ordinality after (state, number)
    where after.number > (
        select max(open.number)
        from json_array_elements(t.state -> 'task' -> 'states') with ordinality open (state, number)
        where open.state ->> 'state'
            in ('requested', 'assigned', 'in_progress', 'on_hold', 'changes_requested')
    )
)
where present in ('submitted', 'accepted', 'rejected', 'cancelled');
alter table task force row level security;

alter table task drop column closed_at;  -- and its index
create index task_open_until on task (firm_id, open_until);
