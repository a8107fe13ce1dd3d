-- What a run looks at of every entry before it reads any in full. `work` says what kind of work it
-- is, as JSON, where the entry is one segment inside its placement between two instants, else NULL.
-- An entry written before this revision has no version here: it is read in full.
alter table entry add column version text, add column started_at timestamptz,
    add column ended_at timestamptz, add column seconds int, add column service_date date,
    add column work text;

-- Events timed after a run's instant are asked for by each firm's draft.
create index fact_of_entry_time on fact (firm_id, event_time) where kind = 'entry';
