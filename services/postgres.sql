-- name: choose_firm
-- Name the firm that this transaction may see; the policies of the firm role read it.
select set_config('turnsheet.firm_id', $1, true);

-- name: append_audit
-- Put a change of state, or a use of the office role, on the trail of the connection's own schema.
insert into audit (firm_id, actor, action, subject, details) values ($1, $2, $3, $4, $5::jsonb);
