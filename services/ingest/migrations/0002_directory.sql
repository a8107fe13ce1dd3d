-- A placement id is unique over all firms: the door asks whose it is before it knows the firm.
create index placement_id on placement (placement_id);
