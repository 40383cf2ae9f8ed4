-- Owns: what the trail says instead of secrets, and how the SQL in it is shown: the key of the hashes, the statement in recorded arguments, and
-- the same without its constants.
-- Runs: the key is read by the keeper, for the gateway; the functions run in the session of whoever reads the trail.
-- Must not: let anybody but a superuser have the key. With it values that are hashed can be guessed by trying.

create table mcp._audit_key (
    only_row boolean primary key default true check (only_row),
    key bytea not null check (pg_catalog.length(key) operator(pg_catalog.=) 32)
);
comment on table mcp._audit_key is 'What secrets are hashed with before they are recorded. Made once; without its row nothing is recorded of arguments with secrets';
comment on column mcp._audit_key.only_row is 'There is one row';
comment on column mcp._audit_key.key is 'Key of HMAC-SHA-256';
insert into mcp._audit_key (key) values (mcp._random_bytes(32));

create function mcp._audit_hash(key bytea, value bytea) returns text
    language c immutable strict parallel safe
    as 'MODULE_PATHNAME', 'supabase_mcp_audit_hash_wrapper';
comment on function mcp._audit_hash(bytea, bytea) is
    'What stands for a value in the trail: # and the first 16 hexadecimal digits of its HMAC-SHA-256; null if the key is none';

create function mcp.audit_hash(value text) returns text
language sql stable strict
set search_path = pg_catalog, pg_temp
as $$
    select mcp._audit_hash(k.key, convert_to(value, 'UTF8')) from mcp._audit_key k
$$;
comment on function mcp.audit_hash(text) is
    'What stands in the audit trail for a value that was secret, to look for the calls that had it; for superusers, who can read the key';

create function mcp._audit_normalised(statement text) returns text
    language c immutable strict parallel safe
    as 'MODULE_PATHNAME', 'supabase_mcp_audit_normalised_wrapper';
comment on function mcp._audit_normalised(text) is
    'The SQL text with $1, $2 ... for its constants, counting on from the parameters that it has; null if it cannot be read';

create function mcp._audit_statement(tool text, arguments text) returns text
    language c immutable strict parallel safe
    as 'MODULE_PATHNAME', 'supabase_mcp_audit_statement_wrapper';
comment on function mcp._audit_statement(text, text) is
    'The SQL text in the recorded arguments of a tool that runs, plans or looks at one, as far as they were kept; null if there is none';
