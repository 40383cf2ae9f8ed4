-- What the keeper tells the gateway about a credential and its role.
-- Runs as a superuser, as the keeper does.
\pset format unaligned
set client_min_messages = error;
create extension if not exists supabase_mcp;
create role keeper_agent login password 'x' valid until '2100-01-01 00:00:00+00' connection limit 3;
create role keeper_nologin;
create role keeper_super superuser;
create role keeper_bypass bypassrls;
create role keeper_repl replication;
create role keeper_files in role pg_read_server_files;
create role keeper_program noinherit in role pg_execute_server_program;
create role keeper_middle noinherit in role keeper_super;
create role keeper_indirect noinherit in role keeper_middle;
create role keeper_via_bypass in role keeper_bypass;
create role keeper_monitor in role pg_monitor;
create role keeper_creator createrole;
create role keeper_under_creator in role keeper_creator;
create role keeper_md5;
update pg_authid set rolpassword = 'md5' || repeat('0', 32) where rolname = 'keeper_md5';

-- Without numbers that differ from run to run.
create function pg_temp.ask(request jsonb) returns text language sql as $$
    select jsonb_pretty(case when a ? 'role_oid' then
               a - 'role_oid' - 'bridge_oid' - 'verifier' - 'audit_key'
               || jsonb_build_object('role_oid is right', (a ->> 'role_oid')::oid = to_regrole(quote_ident(a ->> 'role'))::oid,
                                     'bridge_oid is right', (a ->> 'bridge_oid')::oid = 'mcp_bridge'::regrole,
                                     'audit_key is right', decode(a ->> 'audit_key', 'hex') = (select k.key from mcp._audit_key k),
                                     'principal', regexp_replace(a ->> 'principal', '^token:\d+$', 'token:<id>'))
               || case when a ? 'verifier' then jsonb_build_object('verifier', left(a ->> 'verifier', 14)) else '{}' end
               else a end)
      from mcp._keeper(request) a
$$;
select mcp.create_token('keeper_agent', 'a token', '2101-01-01 00:00:00+00', true) as token \gset
select encode(sha256(convert_to(:'token', 'UTF8')), 'hex') as hash \gset
select pg_temp.ask(jsonb_build_object('token', :'hash'));
select mcp._keeper(jsonb_build_object('token', t)) from unnest(array[repeat('0', 64), upper(:'hash'), :'token', '', null, :'hash' || '0']) t;
update mcp._tokens set expires_at = now();
select mcp._keeper(jsonb_build_object('token', :'hash'));
update mcp._tokens set expires_at = 'infinity';
select mcp._keeper(jsonb_build_object('token', :'hash')) ->> 'found', mcp._keeper(jsonb_build_object('token', :'hash')) ->> 'token_expires' as expires;

-- Peers: by name, by number, by equal name only if allowed, and a name of digits is no number.
select mcp.map_peer('alice', 'keeper_agent'), mcp.map_peer('1000', 'keeper_nologin');
select pg_temp.ask('{"peer": {"uid": 1001, "name": "alice", "equal_names": false}}');
select mcp._keeper('{"peer": {"uid": 1000, "name": "alice"}}') ->> 'role' as name_before_number,
       mcp._keeper('{"peer": {"uid": 1000, "name": null}}') ->> 'role' as number,
       mcp._keeper('{"peer": {"uid": 1002, "name": "1000"}}') ->> 'role' as digits,
       mcp._keeper('{"peer": {"uid": 1003, "name": "keeper_agent", "equal_names": false}}') ->> 'role' as not_equal,
       mcp._keeper('{"peer": {"uid": 1003, "name": "keeper_agent", "equal_names": true}}') ->> 'role' as equal,
       mcp._keeper('{"peer": {"uid": 1003, "name": "nobody_of_this_name", "equal_names": true}}') as unknown;

-- Passwords: the SCRAM verifier and no other.
select pg_temp.ask('{"password": {"role": "keeper_agent"}}');
select mcp._keeper('{"password": {"role": "keeper_md5"}}') -> 'verifier' as md5, mcp._keeper('{"password": {"role": "keeper_nologin"}}') -> 'verifier' as none,
       mcp._keeper('{"password": {"role": "nobody_of_this_name"}}') as unknown;
select pg_temp.ask('{"anonymous": {"role": "keeper_nologin"}}');
select mcp._keeper('{"anonymous": {"role": ""}}');
select k ->> 'found' as found, k ->> 'principal' as principal, k ->> 'role' as role from mcp._keeper('{"jwt": {"role": "keeper_nologin"}}') k;
select mcp._keeper('{"jwt": {"role": "nobody_of_this_name"}}');

-- Who is more than an ordinary role.
select r.role, mcp._keeper(jsonb_build_object('anonymous', jsonb_build_object('role', r.role))) ->> 'privileged' as privileged,
       mcp._keeper(jsonb_build_object('anonymous', jsonb_build_object('role', r.role))) -> 'createrole' as createrole
  from unnest(array['keeper_super', 'keeper_bypass', 'keeper_repl', 'keeper_files', 'keeper_program', 'keeper_middle', 'keeper_indirect',
                    'keeper_via_bypass', 'keeper_monitor', 'keeper_nologin', 'mcp_bridge', 'mcp_admin', 'pg_write_server_files']) r (role);
-- Before PostgreSQL 16 CREATEROLE can grant itself any role but a superuser.
select r.role, (k ->> 'privileged' is not null) = (current_setting('server_version_num')::int < 160000) as as_versions_go, k -> 'createrole' as createrole
  from unnest(array['keeper_creator', 'keeper_under_creator']) r (role)
 cross join lateral mcp._keeper(jsonb_build_object('anonymous', jsonb_build_object('role', r.role))) k;
alter role keeper_agent valid until 'infinity';
select mcp._keeper('{"anonymous": {"role": "keeper_agent"}}') -> 'valid_until' as valid_until;

select jsonb_pretty(k - 'server' - 'database' || jsonb_build_object('version', k #>> '{server,version_num}' = current_setting('server_version_num'),
                    'in_recovery', k #> '{server,in_recovery}', 'database', k ->> 'database' = current_database()))
  from mcp._keeper('{"status": true}') k;
-- It writes nothing, so that it answers on a standby too.
begin transaction read only;
select mcp._keeper('{"anonymous": {"role": "keeper_agent"}}') ->> 'found' as found;
rollback;

delete from mcp._tokens;
delete from mcp._peer_map;
drop role keeper_agent, keeper_nologin, keeper_super, keeper_bypass, keeper_repl, keeper_files, keeper_program, keeper_middle, keeper_indirect,
          keeper_via_bypass, keeper_monitor, keeper_creator, keeper_under_creator, keeper_md5;
