-- All SQL of ingest.

-- name: load_firms_of_placements
-- Find whose each placement is: an event that names it under another firm is refused at the door.
select placement_id, min(firm_id) as firm_id
from placement
where known and placement_id = any($1::text[])
group by placement_id;

-- name: answer
-- See that the database answers.
select 1;
