-- What a run pins beside its cut: which logs the cut's positions lie in, and how far each series of
-- invoices had come. NULL: a run from before this revision.
alter table run add column topic_ids jsonb, add column heads jsonb;

-- A firm whose draft the world has ended (never the firm's own fault, which is a report at once).
alter table run_firm add column attempts int not null default 0, add column trouble text;
drop index run_firm_waiting;
create index run_firm_waiting on run_firm (run_id, attempts, firm_id) where not done;

-- Whom else an assistant works for, now and inside a cut.
create index placement_of_assistant on placement ((state ->> 'assistant_id'));
create index fact_of_started_placement on fact (topic, partition, "offset")
    where type = 'turnsheet.placement.started.v1';
