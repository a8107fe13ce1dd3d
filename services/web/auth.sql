-- name: find_tokens
-- Read tokens with whoever holds them, for every request: a revocation counts from the next one.
select token_id, principal_id, kind, hash, scopes, firms, placements, sources,
       expires_at, revoked_at, principal.disabled_at
from identity.token join identity.principal using (principal_id, kind)
where token_id = any($1::text[]);

-- name: load_tokens
-- List tokens without their hashes, the newest first.
select token_id, principal_id, kind, scopes, firms, placements, sources, label,
       created_at, expires_at, revoked_at
from identity.token
order by created_at desc, token_id;

-- name: append_principal
-- Make a principal when its first token is made; a later token finds it there.
insert into identity.principal (principal_id, kind, created_at) values ($1, $2, $3)
on conflict (principal_id) do nothing;

-- name: append_token
-- Keep a new token's keyed hash and what it may do.
insert into identity.token (
    token_id, principal_id, kind, hash, scopes, firms, placements, sources, label,
    created_at, expires_at)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11);

-- name: revoke_token
-- End a token once; a second revocation changes nothing and finds nothing.
update identity.token set revoked_at = $2 where token_id = $1 and revoked_at is null;

-- name: revoke_tokens
-- End all tokens of a principal that are not ended yet.
update identity.token set revoked_at = $2 where principal_id = $1 and revoked_at is null
returning token_id;
