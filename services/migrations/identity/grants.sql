-- A token ends by its revocation, a principal by its disabling: nothing else of them ever changes.
grant update (revoked_at) on token to turnsheet_identity_writer;
grant update (disabled_at) on principal to turnsheet_identity_writer;

-- Every house reads tokens on each request; the keyed hash is worthless without the pepper.
grant usage on schema identity to turnsheet_ingest_firm, turnsheet_metrics_firm, turnsheet_billing_firm;
grant select on principal, token to turnsheet_ingest_firm, turnsheet_metrics_firm, turnsheet_billing_firm;
