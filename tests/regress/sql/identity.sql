-- Tokens and the peer map: who may give access, who may take it away, and what is never shown.
-- Runs as roles that are not superusers, but for the set-up.
set client_min_messages = error;
create extension if not exists supabase_mcp;
create function pg_temp.try(statement text) returns text language plpgsql as $$
declare m text; h text;
begin
    execute statement;
    return 'done';
exception when others then
    get stacked diagnostics m = message_text, h = pg_exception_hint;
    return concat_ws(' | ', sqlstate, m, nullif(h, ''));
end $$;
create role identity_admin login;
create role "Identity Agent" login;
create role identity_other login;
create role identity_rls_bypasser bypassrls;
create role identity_plain login;
grant mcp_admin to identity_admin;
grant "Identity Agent", identity_rls_bypasser to identity_admin with admin option;

set session authorization identity_admin;
-- A token is 256 random bits, different each time.
select mcp.create_token('"Identity Agent"', 'first', now() + interval '1 hour', true) as first_token \gset
select mcp.create_token('"Identity Agent"') as second_token \gset
select :'first_token' ~ '^mcp_[A-Za-z0-9_-]{43}$' as well_formed, :'first_token' <> :'second_token' as different;
select label, role, read_only, expires_at > now() as in_future, state, created_by from mcp.tokens order by label collate "C";
-- The hash is nobody's to read.
select pg_temp.try('select hash from mcp._tokens');
select pg_temp.try('select * from mcp._tokens');
-- Only what one administers may be given, and not oneself.
select pg_temp.try($$select mcp.create_token('identity_other')$$);
select pg_temp.try($$select mcp.create_token('identity_admin')$$);
select pg_temp.try($$select mcp.create_token('nobody_of_this_name')$$);
select pg_temp.try($$select mcp.create_token(null)$$);
select pg_temp.try($$select mcp.create_token('"Identity Agent"', 'first')$$);
select pg_temp.try($$select mcp.create_token('"Identity Agent"', 'late', now() - interval '1 second')$$);
-- A role that would be refused may be named: a setting decides. The warning goes to the client.
select pg_temp.try($$select mcp.create_token('identity_rls_bypasser', 'strong')$$);
-- The wall is in the tables, not in the functions.
select pg_temp.try($$insert into mcp._tokens (hash, role) values (sha256('x'), 'identity_other')$$);
select pg_temp.try($$insert into mcp._tokens (hash, role) values (sha256('x'), 'identity_admin')$$);
select pg_temp.try($$insert into mcp._tokens (hash, role, created_by) values (sha256('x'), '"Identity Agent"', 'identity_other')$$);
select pg_temp.try($$insert into mcp._tokens (hash, role) values ('short', '"Identity Agent"')$$);
select pg_temp.try($$update mcp._tokens set role = 'identity_other'$$);
select pg_temp.try($$truncate mcp._tokens$$);
select pg_temp.try($$select mcp._keeper('{"status": true}')$$);

-- Peers.
select mcp.map_peer('alice', '"Identity Agent"');
select mcp.map_peer('1000', '"Identity Agent"');
select mcp.map_peer('alice', 'identity_rls_bypasser');
select pg_temp.try($$select mcp.map_peer('bob', 'identity_other')$$);
select pg_temp.try($$select mcp.map_peer('', '"Identity Agent"')$$);
select pg_temp.try($$select mcp.map_peer(null, '"Identity Agent"')$$);
select pg_temp.try($$insert into mcp._peer_map (os_user, role) values ('bob', 'identity_other')$$);
select os_user, role, created_by from mcp.peer_map order by os_user collate "C";
select pg_temp.try($$select mcp.unmap_peer('carol')$$);
select mcp.unmap_peer('alice');
select os_user, role from mcp.peer_map order by os_user collate "C";

-- An ordinary role gets at nothing.
set session authorization identity_plain;
select pg_temp.try('select mcp.create_token(''identity_plain'')');
select pg_temp.try('select * from mcp.tokens');
select pg_temp.try('select * from mcp.peer_map');
select pg_temp.try('select mcp.revoke_token(''first'')');
select pg_temp.try('select mcp.status()');
select pg_temp.try('select mcp.off()');
select pg_temp.try('select mcp._admin(''off'', null)');
select pg_temp.try('select mcp._start()');
select pg_temp.try('select mcp._random_bytes(4)');
select pg_temp.try('select mcp._tools()');

-- What is stored is the SHA-256 of the text.
reset session authorization;
select label, hash = sha256(convert_to(:'first_token', 'UTF8')) as is_hash from mcp._tokens where label = 'first';
-- An administrator takes away what somebody else gave.
select mcp.create_token('identity_other', 'by superuser') is not null as made;
set session authorization identity_admin;
select label, role, created_by = current_user as own from mcp.tokens order by label collate "C";
select mcp.revoke_token('by superuser');
select pg_temp.try($$select mcp.revoke_token('by superuser')$$);
select pg_temp.try($$select mcp.revoke_token(-1)$$);
select mcp.revoke_token(id) from mcp.tokens where label is null;
select label from mcp.tokens order by label collate "C";

-- A token follows its role through a rename and dies with it; pg_dump leaves such rows out.
reset session authorization;
alter role "Identity Agent" rename to identity_agent;
select label, role, state from mcp.tokens where label = 'first';
drop role identity_rls_bypasser;
select label, state from mcp.tokens order by label collate "C";
update mcp._tokens set expires_at = now() where label = 'first';
select label, state from mcp.tokens order by label collate "C";
select count(*) from mcp._tokens where exists (select from pg_catalog.pg_roles r where r.oid operator(pg_catalog.=) role::pg_catalog.oid);

delete from mcp._tokens;
delete from mcp._peer_map;
drop role identity_admin, identity_agent, identity_other, identity_plain;
