-- Of the last record that was applied: a log that lost its end and was written on has another there.
alter table consumer_offset add column last_digest bytea;
