-- name: save_entries
-- Entries as folded, whole sets at a time.
insert into entry (firm_id, entry_id, placement_id, assistant_id, state, segments, version,
                   started_at, ended_at, seconds, service_date, work)
select * from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::json[], $6::json[],
                     $7::text[], $8::timestamptz[], $9::timestamptz[], $10::int[], $11::date[],
                     $12::text[])
    u (firm_id, entry_id, placement_id, assistant_id, state, segments, version, started_at,
       ended_at, seconds, service_date, work)
order by u.firm_id, u.entry_id
on conflict (firm_id, entry_id) do update
set placement_id = excluded.placement_id, assistant_id = excluded.assistant_id,
    state = excluded.state, segments = excluded.segments, version = excluded.version,
    started_at = excluded.started_at, ended_at = excluded.ended_at, seconds = excluded.seconds,
    service_date = excluded.service_date, work = excluded.work;

-- name: remove_entries
-- Entries of which nothing stands any more.
delete from entry e using unnest($1::text[], $2::text[]) u (firm_id, entry_id)
where e.firm_id = u.firm_id and e.entry_id = u.entry_id;

-- name: load_entries
-- Some of a firm's entries as folded of all that has come, and those whose fold failed.
select e.entity_id as entry_id, e.failed, b.state, b.segments
from entity e left join entry b on b.firm_id = e.firm_id and b.entry_id = e.entity_id
where e.firm_id = $1 and e.kind = 'entry' and e.entity_id = any($2::text[])
order by e.entity_id;

-- name: list_entries
-- A firm's entries, also those of which nothing stands.
select entity_id from entity where firm_id = $1 and kind = 'entry';

-- name: list_entries_of_placements
-- A firm's entries of some placements, but for those of which nothing stands.
select entry_id from entry where firm_id = $1 and placement_id = any($2::text[]);

-- name: load_outlines
-- A firm's entries from afar, as columns of an outline.
select entry_id, placement_id, version, extract(epoch from started_at)::bigint,
       extract(epoch from ended_at)::bigint, seconds, service_date, work
from entry where firm_id = $1;

-- name: list_timesheet
-- A page of a firm's entries of some service dates, after a place, with whether each is approved in
-- the version that stands.
select e.entry_id, e.version, e.placement_id, e.assistant_id, e.state ->> 'status' as status,
       e.service_date, e.seconds,
       exists (select from approval a where (a.firm_id, a.entry_id, a.version)
                                          = (e.firm_id, e.entry_id, e.version)) as approved
from entry e
where e.firm_id = $1 and e.service_date between $2 and $3
  and (e.service_date, e.entry_id) > ($4, $5)
order by e.service_date, e.entry_id limit $6;

-- name: list_versions
-- The versions that stand of a firm's entries of some service dates.
select entry_id, version from entry where firm_id = $1 and service_date between $2 and $3;

-- name: load_failed
-- A firm's entries whose last fold failed.
select entity_id from entity where firm_id = $1 and kind = 'entry' and failed is not null;

-- name: load_firms_of_assistants
-- Other firms where some assistants are placed, and those with a placement that a cut may show
-- otherwise than it is now: only facts beyond it are looked at, which `offset 0` keeps the planner to.
select firm_id from placement where state ->> 'assistant_id' = any($1::text[]) and firm_id <> $2
union
select f.firm_id from consumer_offset o
left join unnest($3::text[], $4::int[], $5::bigint[]) c (topic, partition, "end")
  using (topic, partition)
cross join lateral (
    select g.firm_id from fact g
    where g.topic = o.topic and g.partition = o.partition and g."offset" >= coalesce(c."end", 0)
      and g.type = 'turnsheet.placement.started.v1' offset 0) f
where f.firm_id <> $2
order by firm_id;

-- name: load_coverage
-- Whether what is applied reaches these log ends, and is of the same topics. Whoever asks first in a
-- transaction keeps a rebuild out until it ends; work that waits to be folded again is not looked at.
select coalesce(bool_and(e.log_end <= coalesce(o.next, 0)), true) as reached,
       coalesce(bool_and(e.topic_id is null or o.topic_id is null or e.topic_id = o.topic_id), true)
           as same
from unnest($1::text[], $2::int[], $3::bigint[], $4::uuid[]) e (topic, partition, log_end, topic_id)
left join consumer_offset o using (topic, partition);

-- name: load_outside_cut
-- Entities of a firm that do not stand as a cut shows them: one with a fact that it does not see,
-- and one that waits to be folded again; each with how many of its facts the cut shows. Facts lie in
-- no partition that has no offset here.
with outside as (
    select f.kind, f.entity_id from consumer_offset o
    left join unnest($2::text[], $3::int[], $4::bigint[]) c (topic, partition, "end")
      using (topic, partition)
    join fact f on f.firm_id = $1 and f.topic = o.topic and f.partition = o.partition
      and f."offset" >= coalesce(c."end", 0)
    union
    select kind, entity_id from fact where firm_id = $1 and kind = 'entry' and event_time > $5
    union
    select kind, entity_id from refold where firm_id = $1
)
select o.kind, o.entity_id, inside.facts from outside o
cross join lateral (
    select count(*) as facts from fact f
    join unnest($2::text[], $3::int[], $4::bigint[]) c (topic, partition, "end")
      on c.topic = f.topic and c.partition = f.partition and f."offset" < c."end"
    where f.firm_id = $1 and f.kind = o.kind and f.entity_id = o.entity_id
      and f.event_time <= $5) inside;

-- name: load_facts_inside
-- The facts of some of a firm's entries that a cut shows.
select f.firm_id, f.kind, f.entity_id, f.topic, f.partition, f."offset", f.type, f.received_at,
       f.principal, f.content_hash, f.body
from unnest($6::text[]) u (entity_id)
join fact f on f.firm_id = $1 and f.kind = 'entry' and f.entity_id = u.entity_id
join unnest($2::text[], $3::int[], $4::bigint[]) c (topic, partition, "end")
  on c.topic = f.topic and c.partition = f.partition and f."offset" < c."end"
where f.event_time <= $5;

-- name: load_directory_keys
-- The directory's entities of a firm.
select distinct kind, entity_id from fact
where firm_id = $1 and kind in ('firm', 'placement') order by kind, entity_id;

-- name: load_sharing_ids
-- Entries under whose event id another entry of the firm was sent an event too, inside a cut; one
-- pass over the firm's facts, for it asks in every run. Retractions are for the fold to judge.
select distinct unnest(array_agg(f.entity_id)) as entity_id
from fact f
join unnest($2::text[], $3::int[], $4::bigint[]) c (topic, partition, "end")
  on c.topic = f.topic and c.partition = f.partition and f."offset" < c."end"
where f.firm_id = $1 and f.kind = 'entry' and f.type <> 'turnsheet.event.retracted.v1'
  and f.event_time <= $5
group by f.source, f.event_id having min(f.entity_id) <> max(f.entity_id);

-- name: load_rates
-- The card as it stood at an instant: in force then, for all firms or for this one.
select firm_id, rate_id, placement_id, country, role, phase, currency, rate_e4,
       lower(valid) as valid_from, upper(valid) as valid_to
from rate where firm_id in ('*', $1) and decided_at <= $2
  and (superseded_at is null or superseded_at > $2)
order by firm_id, rate_id;

-- name: load_terms
-- All versions of a firm's terms up to an instant.
select * from terms where firm_id = $1 and decided_at <= $2 order by version;

-- name: load_approvals
-- What the firm approved up to an instant.
select entry_id, version from approval where firm_id = $1 and decided_at <= $2;

-- name: load_issued
-- The firm's invoices that were issued up to an instant, or all; of the periods before one, or all.
select i.body from invoice i join settlement s using (firm_id, period, invoice_id)
where firm_id = $1 and i.state = 'issued' and ($2::timestamptz is null or s.decided_at <= $2)
  and ($3::date is null or period < $3)
order by period;

-- name: load_settled
-- The months that were settled up to an instant, with the cut of the run that settled each, and
-- whether its positions are those of the topics that are read now.
select s.period, r.ends, r.instant, not exists (
    select 1 from jsonb_each_text(r.topic_ids) pinned (topic, id)
    join consumer_offset o using (topic) where o.topic_id <> pinned.id::uuid) as same
from settlement s join run r using (run_id)
where s.firm_id = $1 and s.decided_at <= $2 order by s.period;

-- name: list_firms
-- Every firm that was registered inside a cut.
select firm_id from firm m where exists (
    select 1 from fact f
    join unnest($1::text[], $2::int[], $3::bigint[]) c (topic, partition, "end")
      on c.topic = f.topic and c.partition = f.partition and f."offset" < c."end"
    where f.firm_id = m.firm_id and f.kind = 'firm' and f.entity_id = m.firm_id
      and f.type = 'turnsheet.firm.registered.v1')
order by firm_id;

-- name: share_decisions
-- A decision is stamped under this lock, in share, and keeps it until it commits.
select pg_advisory_xact_lock_shared(7202607002);

-- name: read_clock
-- One clock stamps all decisions and cuts, whatever machine a process runs on; read in a statement
-- after the lock, or a stamp could be older than a cut that did not see it.
select clock_timestamp();

-- name: bar_decisions
-- A cut waits for every decision that has its stamp, and none gets an earlier one later.
select pg_advisory_xact_lock(7202607002);

-- name: find_run_of_request
-- The run that an earlier call with the same key began.
select run_id, request from run where actor = $1 and request_key = $2;

-- name: append_run
-- A run and all that it pins.
insert into run (run_id, period, dry_run, ends, instant, topic_ids, heads, actor, request_key,
                 request)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10);

-- name: load_pinned_ends
-- How far the run that was pinned last saw the topics of these ids, if it was pinned since $2.
select e ->> 0 as topic, (e ->> 1)::int as partition, (e ->> 2)::bigint as "end"
from (select ends, topic_ids from run where instant > $2 order by instant desc limit 1) r
cross join jsonb_array_elements(r.ends) e
where r.topic_ids ->> (e ->> 0) = $1::jsonb ->> (e ->> 0);

-- name: load_heads
-- How far each series has come: its last number, and that document's hash.
select series, last, head from series order by series;

-- name: load_numbered
-- What some numbers of some series carry.
select n.series, n.number, n.sha256 from series_number n
join unnest($1::text[], $2::int[]) u (series, number) using (series, number);

-- name: append_run_firms
-- The firms that a run has to draft.
insert into run_firm (firm_id, run_id) select f, $1 from unnest($2::text[]) f on conflict do nothing;

-- name: mark_listed
-- The firms of a run are listed.
update run set listed = true where run_id = $1;

-- name: load_run
-- A run.
select * from run where run_id = $1;

-- name: load_run_firms
-- Some firms of a run in the order of their ids, with or without what it decided.
select firm_id, done, case when $2 then report end as report, invoice_id, attempts, trouble
from run_firm where run_id = $1 and firm_id > $3 order by firm_id limit $4;

-- name: count_run_firms
-- How far a run has come.
select count(*) as firms, count(*) filter (where done) as done from run_firm where run_id = $1;

-- name: load_run_firms_after
-- Some firms of a run with what it decided, in the order of their ids.
select f.firm_id, f.done, f.report, f.invoice_id, i.state, i.content, i.body
from run_firm f left join invoice i on i.firm_id = f.firm_id and i.invoice_id = f.invoice_id
where f.run_id = $1 and f.firm_id > $2 and ($3::text is null or f.firm_id = $3)
order by f.firm_id limit $4;

-- name: lock_unlisted_run
-- The oldest run whose firms are not listed; runs are listed in the order in which they began.
select * from run where not listed order by instant limit 1 for update;

-- name: load_waiting_runs
-- Runs with firms to list or to draft, the oldest first.
select r.run_id, r.period, r.dry_run, r.listed, r.ends, r.instant, r.topic_ids from run r
where not r.listed or r.run_id in (select run_id from run_firm where not done)
order by r.instant;

-- name: claim_firm
-- A firm of a run that no other worker has. A firm's drafts for one period are made in the order in
-- which their runs began, and one that the world has ended before comes after the others.
select f.firm_id from run_firm f
where f.run_id = $1 and not f.done and ($2 or not exists (
    select 1 from run_firm g join run q on q.run_id = g.run_id
    where g.firm_id = f.firm_id and not g.done and not q.dry_run
      and q.period = $3 and q.instant < $4))
order by f.attempts, f.firm_id limit 1 for update of f skip locked;

-- name: finish_firm
-- What the run decided about a firm.
update run_firm set done = true, report = $3, invoice_id = $4 where run_id = $1 and firm_id = $2;

-- name: note_trouble
-- A draft that the world has ended; after so many attempts it is reported as failed.
update run_firm set attempts = attempts + 1, trouble = $3, done = attempts + 1 >= $4,
    report = case when attempts + 1 >= $4 then $5::json end
where run_id = $1 and firm_id = $2 and not done;

-- name: supersede_drafts
-- A new run replaces a draft, and an approved one that can no longer be issued: a month of the firm
-- was settled since it was decided.
update invoice i set state = 'superseded'
where i.firm_id = $1 and i.period = $2 and (i.state = 'draft' or i.state = 'approved' and exists (
    select 1 from settlement s join run r on r.run_id = i.run_id
    where s.firm_id = i.firm_id and s.decided_at > r.instant));

-- name: is_decided
-- Whether a firm's month is settled, or an approved invoice waits to settle it.
select exists (select from settlement where firm_id = $1 and period = $2)
    or exists (select from invoice where firm_id = $1 and period = $2 and state = 'approved');

-- name: supersede_unissued
-- With a month settled, what else was drafted of it is over.
update invoice set state = 'superseded'
where firm_id = $1 and period = $2 and state in ('draft', 'approved');

-- name: append_draft
-- A draft.
insert into invoice (firm_id, invoice_id, period, run_id, state, currency, total_minor, content,
                     issued_digest, blocked)
values ($1, $2, $3, $4, 'draft', $5, $6, $7, $8, $9);

-- name: list_invoices
-- A page of invoices without their documents, the newest period first, after a place; ids in the
-- order of their bytes, as pages of several firms are merged. All but superseded ones, or the issued.
select invoice_id, firm_id, period, state, number, currency, total_minor, run_id, sha256
from invoice
where ($1::date is null or period = $1) and ($2::text is null or firm_id = $2)
  and (state = 'issued' or not $3 and state <> 'superseded')
  and ($4::date is null or period < $4
       or period = $4 and (firm_id collate "C", invoice_id collate "C") > ($5, $6))
order by period desc, firm_id collate "C", invoice_id collate "C" limit $7;

-- name: list_issuable
-- Firms of a run, some at a time in the order of their ids, whose month is not settled and can be:
-- by an approved invoice that this run or one before it drafted, or without one when this run found
-- nothing to bill and none after it decides about the firm, as is_run_again has it.
with later as materialized (
    select l.run_id, l.listed, l.request -> 'firm_ids' as named
    from run r join run l on l.period = r.period and l.instant > r.instant and not l.dry_run
    where r.run_id = $1)
select f.firm_id, i.invoice_id
from run r join run_firm f using (run_id)
left join (select i.*, drafted.instant from invoice i join run drafted using (run_id)) i
  on i.firm_id = f.firm_id and i.period = r.period and i.state = 'approved'
     and i.instant <= r.instant
where r.run_id = $1 and f.firm_id > $2
  and not exists (select from settlement s where s.firm_id = f.firm_id and s.period = r.period)
  and (i.invoice_id is not null or (
    f.report ->> 'outcome' in ('nothing_due', 'carried')
    and json_array_length(f.report -> 'blocked') = 0
    and not exists (
        select from later l
        where case when l.listed
            then exists (select from run_firm g where g.firm_id = f.firm_id and g.run_id = l.run_id)
            else l.named = 'null' or l.named ? f.firm_id end)))
order by f.firm_id limit $3;

-- name: list_runs
-- The runs of a month, the newest first, and how far each has come.
select r.run_id, r.period, r.dry_run, r.listed, r.instant,
       count(f.firm_id) as firms, count(f.firm_id) filter (where f.done) as done
from run r left join run_firm f using (run_id)
where r.period = $1 group by r.run_id order by r.instant desc, r.run_id;

-- name: find_invoice
-- An invoice by its id or its number, without its document.
select invoice_id, firm_id, period, state, number, currency, total_minor, run_id, sha256
from invoice where invoice_id = $1 or number = $1;

-- name: load_invoice
-- An invoice by its id or its number, with its document.
select * from invoice where invoice_id = $1 or number = $1;

-- name: lock_invoice
-- An invoice that is about to change its state.
select * from invoice where firm_id = $1 and invoice_id = $2 for update;

-- name: withdraw_approval
-- An approved invoice is a draft again.
update invoice set state = 'draft' where firm_id = $1 and invoice_id = $2;

-- name: approve_invoice
-- A draft is approved.
update invoice set state = 'approved' where firm_id = $1 and invoice_id = $2;

-- name: lock_books
-- One issue step at a time of a firm; the lock goes with the transaction.
select pg_advisory_xact_lock(hashtextextended('books ' || $1, 0));

-- name: lock_series
-- One issue at a time in a series; the lock goes with the transaction.
select pg_advisory_xact_lock(hashtextextended('series ' || $1, 0));

-- name: ensure_series
-- A series begins with its first invoice.
insert into series (series, last) values ($1, 0) on conflict do nothing;

-- name: take_number
-- The next number: gapless, because it rolls back with its issue.
update series set last = last + 1 where series = $1 returning last, head;

-- name: set_head
-- The chain's head is the last document's hash.
update series set head = $2 where series = $1;

-- name: append_number
-- Which invoice carries the number.
insert into series_number (series, number, invoice_id, sha256) values ($1, $2, $3, $4);

-- name: issue_invoice
-- The frozen document.
update invoice set state = 'issued', number = $3, series = $4, predecessor = $5,
    content_sha256 = $6, sha256 = $7, body = $8
where firm_id = $1 and invoice_id = $2;

-- name: append_settlement
-- The month is settled.
insert into settlement (firm_id, period, run_id, invoice_id, actor, decided_at)
values ($1, $2, $3, $4, $5, $6);

-- name: has_moved_on
-- Whether a month of the firm was settled after a run had pinned its cut.
select exists (
    select 1 from settlement s join run r on r.run_id = $2
    where s.firm_id = $1 and s.decided_at > r.instant);

-- name: is_run_again
-- Whether a later run, no dry one, has decided or will decide about this month of the firm; one whose
-- firms are not listed yet will about those it names, or all.
select exists (
    select from run later
    where later.period = $2 and later.instant > $3 and not later.dry_run
      and case when later.listed
          then exists (select from run_firm f where f.firm_id = $1 and f.run_id = later.run_id)
          else later.request -> 'firm_ids' = 'null' or later.request -> 'firm_ids' ? $1 end);

-- name: load_chain
-- The documents of a series in the order of their numbers.
select i.body from series_number n join invoice i on i.invoice_id = n.invoice_id
where n.series = $1 order by n.number;

-- name: append_approvals
-- A firm approves entry versions; once is enough.
insert into approval (firm_id, entry_id, version, actor, decided_at)
select $1, e, v, $4, $5 from unnest($2::text[], $3::text[]) u (e, v) on conflict do nothing;

-- name: lock_card
-- One change of a card's key at a time.
select pg_advisory_xact_lock(hashtextextended('rate ' || $1, 0));

-- name: supersede_rates
-- Rates of the same key that a new one overlaps are closed or replaced; of a placement's country and
-- role are no part of it.
update rate set superseded_at = $8
where firm_id = $1 and placement_id = $2 and phase = $5
  and (placement_id <> '*' or (country = $3 and role = $4))
  and valid && daterange($6, $7) and superseded_at is null
returning firm_id, rate_id, placement_id, country, role, phase, currency, rate_e4,
          lower(valid) as valid_from, upper(valid) as valid_to;

-- name: append_rate
-- A version of a rate.
insert into rate (firm_id, rate_id, placement_id, country, role, phase, currency, rate_e4, valid,
                  actor, decided_at)
values ($1, $2, $3, $4, $5, $6, $7, $8, daterange($9, $10), $11, $12);

-- name: list_rates
-- The card in force now.
select firm_id, rate_id, placement_id, country, role, phase, currency, rate_e4,
       lower(valid) as valid_from, upper(valid) as valid_to
from rate where superseded_at is null
order by firm_id, placement_id, country, role, phase, valid;

-- name: lock_terms
-- One version of a firm's terms at a time.
select pg_advisory_xact_lock(hashtextextended('terms ' || $1, 0));

-- name: append_terms
-- The next version of a firm's terms.
insert into terms (firm_id, version, effective_month, approval, increment_minutes, direction,
                   excluded_kinds, excluded_phases, actor, decided_at)
select $1, coalesce(max(version), 0) + 1, $2, $3, $4, $5, $6, $7, $8, $9
from terms where firm_id = $1 returning version;

-- name: load_facts_of_entries
-- Where the facts of some entries lie in the log.
select entity_id, type, source, event_id as id, event_time as time, received_at, principal, topic,
       partition, "offset"
from fact where firm_id = $1 and kind = 'entry' and entity_id = any($2::text[])
order by entity_id, event_time, topic, partition, "offset";

-- name: load_entry_states
-- Everything that an entry's row says, to be hashed.
select firm_id, entry_id, placement_id, assistant_id, state::text, segments::text
from entry order by firm_id, entry_id;

-- name: load_failed_entries
-- Entries whose last fold failed, to be hashed.
select firm_id, entity_id from entity where kind = 'entry' and failed is not null
order by firm_id, entity_id;

-- name: load_directory_states
-- The directory as this house folded it, to be hashed.
select 'firm' as kind, firm_id, '' as id, known, state::text from firm
union all select 'placement', firm_id, placement_id, known, state::text from placement
union all select 'assistant', '', assistant_id, known, state::text from assistant
order by 1, 2, 3;
