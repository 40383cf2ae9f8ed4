-- Owns: who may touch what: nobody, but for what is granted here to mcp_admin.
-- Runs: once, after all objects exist. An upgrade script does the same for the objects that it adds.
-- Must not: leave anything to PUBLIC or to ALTER DEFAULT PRIVILEGES.

revoke all on schema mcp from public;
revoke all on all functions in schema mcp from public;
revoke all on all tables in schema mcp from public;
revoke all on all sequences in schema mcp from public;

-- Default privileges of whoever installs (Supabase sets some for anon and authenticated) have granted already by now.
do $$
declare
    item record;
begin
    for item in
        select pg_catalog.format('revoke all on function %s from %s', p.oid::pg_catalog.regprocedure, a.grantee::pg_catalog.regrole) as command
          from pg_catalog.pg_proc p
         cross join lateral pg_catalog.aclexplode(p.proacl) a
         where p.pronamespace operator(pg_catalog.=) 'mcp'::pg_catalog.regnamespace::pg_catalog.oid
           and a.grantee operator(pg_catalog.<>) p.proowner
        union
        select pg_catalog.format('revoke all on %s %s from %s', case c.relkind when 'S' then 'sequence' else 'table' end,
                                 c.oid::pg_catalog.regclass, a.grantee::pg_catalog.regrole)
          from pg_catalog.pg_class c
         cross join lateral pg_catalog.aclexplode(c.relacl) a
         where c.relnamespace operator(pg_catalog.=) 'mcp'::pg_catalog.regnamespace::pg_catalog.oid
           and a.grantee operator(pg_catalog.<>) c.relowner
    loop
        execute item.command;
    end loop;
end
$$;

grant usage on schema mcp to mcp_admin;
-- Policies and triggers ask it as whoever fires them.
grant execute on function mcp.current_caller() to public;

-- Reading all but the hash; row level security says what may be added and removed.
grant select (id, role, label, expires_at, read_only, settings, features, created_at, created_by),
      insert (hash, role, label, expires_at, read_only, settings, features), delete
    on mcp._tokens to mcp_admin;
grant select, insert (os_user, role), delete on mcp._peer_map to mcp_admin;
grant select, insert (role, token, tool, calls_per_minute, burst, max_concurrent, max_rows, max_bytes, max_seconds, queue_seconds, read_only), delete
    on mcp._limits to mcp_admin;
grant select on mcp._token_use to mcp_admin;
grant select on mcp.tokens, mcp.peer_map, mcp.limits to mcp_admin;

grant execute on function mcp.create_token(regrole, text, timestamptz, boolean, jsonb, text[]) to mcp_admin;
grant execute on function mcp.revoke_token(bigint) to mcp_admin;
grant execute on function mcp.revoke_token(text) to mcp_admin;
grant execute on function mcp.map_peer(text, regrole) to mcp_admin;
grant execute on function mcp.unmap_peer(text) to mcp_admin;
grant execute on function mcp.set_limit(regrole, bigint, text, integer, integer, integer, integer, integer, double precision, double precision, boolean) to mcp_admin;
grant execute on function mcp.drop_limit(regrole, bigint, text) to mcp_admin;
grant execute on function mcp.grant_tools(regrole, boolean, text[]) to mcp_admin;
grant execute on function mcp.revoke_tools(regrole) to mcp_admin;
grant execute on function mcp.status() to mcp_admin;
grant execute on function mcp.drain(name) to mcp_admin;
grant execute on function mcp.off() to mcp_admin;
grant execute on function mcp.on() to mcp_admin;

-- What those call in the name of the administrator.
grant execute on function mcp._privileged(oid) to mcp_admin;
grant execute on function mcp._check_may_give(regrole) to mcp_admin;
grant execute on function mcp._settings_fault(jsonb) to mcp_admin;
grant execute on function mcp._are_names(text[]) to mcp_admin;
grant execute on function mcp._settings_taken(jsonb) to mcp_admin;
grant execute on function mcp._may_limit(oid, bigint, boolean) to mcp_admin;
grant execute on function mcp._check_may_limit(regrole, bigint, boolean) to mcp_admin;
grant execute on function mcp._random_bytes(integer) to mcp_admin;
grant execute on function mcp._admin(text, text) to mcp_admin;
grant execute on function mcp._start() to mcp_admin;
