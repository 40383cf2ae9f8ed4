-- Owns: mcp.report_access: who could call through the MCP server, what each role may call and touch, and through which grant.
-- Runs: as the reader of a report.
-- Must not: leave out a grant that a call could use; take a membership for a right without asking whether it is inherited.

create function mcp._report_limits(role oid, tool text) returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    -- Of the role, of its tokens, and of everybody; for a tool those that name it, else those that name none, and what ALTER ROLE gave it. Of settings
    -- those alone that limit: others may be secrets.
    with limits (place, item) as (
        select row_number() over (order by l.role nulls last, l.token nulls last),
               jsonb_strip_nulls(jsonb_build_object(
                   'of', case when l.role is not null then 'role' when l.token is not null then 'token ' || l.token else 'all callers' end,
                   'calls_per_minute', l.calls_per_minute, 'burst', l.burst, 'max_concurrent', l.max_concurrent, 'max_rows', l.max_rows,
                   'max_bytes', l.max_bytes, 'max_seconds', l.max_seconds, 'queue_seconds', l.queue_seconds, 'read_only', nullif(l.read_only, false)))
          from mcp.limits l
         where l.tool is not distinct from _report_limits.tool
           and (l.role = _report_limits.role
                or l.role is null and (l.token is null or exists (select from mcp.tokens t where t.id = l.token and t.role = _report_limits.role)))
        union all
        select 0, jsonb_build_object('of', 'settings of the role') || s.settings
                  || case when r.rolconnlimit = -1 then '{}' else jsonb_build_object('connection_limit', r.rolconnlimit) end
          from pg_roles r
         cross join lateral (
               select coalesce(jsonb_object_agg(split_part(c, '=', 1), substr(c, strpos(c, '=') + 1) order by d.setdatabase), '{}') as settings
                 from pg_db_role_setting d cross join lateral unnest(d.setconfig) c
                where d.setrole = r.oid and (d.setdatabase = 0 or d.setdatabase = (select b.oid from pg_database b where b.datname = current_database()))
                  and (starts_with(c, 'supabase_mcp.')
                       or split_part(c, '=', 1) in ('statement_timeout', 'transaction_timeout', 'lock_timeout', 'default_transaction_read_only', 'transaction_read_only', 'temp_file_limit',
                                                    'work_mem', 'search_path'))) s
         where r.oid = _report_limits.role and _report_limits.tool is null and (s.settings <> '{}' or r.rolconnlimit <> -1)
    )
    select jsonb_agg(l.item order by l.place) from limits l
$$;
comment on function mcp._report_limits(oid, text) is 'The limits of a role''s calls: what mcp.set_limit says of one tool, or, without it, of all, and what ALTER ROLE gave the role';

create function mcp._report_access(wanted oid)
returns table (role name, ways text[], kind text, object text, privileges text[], through text, grantor name, row_security text, policies text[],
               limits jsonb, note text)
language plpgsql stable rows 10000
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
begin
    if wanted is not null and not exists (select from pg_roles r where r.oid = wanted) then
        raise exception 'the role does not exist' using errcode = 'undefined_object', hint = 'select rolname from pg_roles lists the roles.';
    end if;
    return query
    with callers as materialized (
        select * from mcp._report_callers(wanted)
    ), served as materialized (
        select c.*, r.rolsuper from callers c join pg_roles r on r.oid = c.role where c.refusal is null
    ), reach as materialized (
        -- SET ROLE is for calls that have a session of their own; the calls of shared roles refuse it.
        select s.role, g.* from served s cross join lateral mcp._report_reach(s.role, s.direct) g
    ), grants as materialized (
        select * from mcp._report_grants()
    ), touched as (
        -- What is granted to a role that it has.
        select h.role, h.acting, g.kind, g.class, g.id, g.name, g.schema, g.owner, g.remark, g.grantee, g.grantor, g.privileges,
               case when g.grantee = 0 and g.grantor = g.owner and not exists (select from pg_init_privs i where i.objoid = g.id and i.classoid = g.class)
                         and g.class = 'pg_proc'::regclass and (select p.proacl is null from pg_proc p where p.oid = g.id) then 'PUBLIC, by default'
                    when g.grantee = g.owner and g.kind <> 'default privilege'
                         then case when h.through = 'granted' then 'owner' when h.through like 'after %' then h.through || ', owner' else 'owner: ' || h.through end
                    else h.through end as through
          from grants g join reach h on h.grantee = g.grantee
        union all
        -- What comes with a role of Postgres' own, and is written down nowhere.
        select h.role, h.acting, o.kind, o.class, o.id, o.name, o.schema, o.owner, o.remark, h.grantee, null, w.privileges, h.through
          from reach h
          join pg_roles b on b.oid = h.grantee
          join mcp._report_objects() o on o.ordinary
         cross join lateral (
               select case when o.kind = 'schema' and b.rolname <> 'pg_maintain' then '{USAGE}'::text[]
                           when b.rolname = 'pg_read_all_data' and o.class = 'pg_class'::regclass then '{SELECT}'
                           when b.rolname = 'pg_write_all_data' and o.class = 'pg_class'::regclass and o.kind <> 'sequence' then '{INSERT,UPDATE,DELETE}'
                           when b.rolname = 'pg_write_all_data' and o.kind = 'sequence' then '{UPDATE}'
                           when b.rolname = 'pg_maintain' and o.class = 'pg_class'::regclass and o.kind not in ('sequence', 'view', 'foreign table') then '{MAINTAIN}' end as privileges) w
         where b.rolname in ('pg_read_all_data', 'pg_write_all_data', 'pg_maintain') and w.privileges is not null
        union all
        select s.role, s.role, o.kind, o.class, o.id, o.name, o.schema, o.owner, o.remark, null, null, '{ALL}', 'superuser'
          from served s join mcp._report_objects() o on o.ordinary and o.kind <> 'default privilege' where s.rolsuper
    ), usable as materialized (
        select a.acting, n.oid as schema, has_schema_privilege(a.acting, n.oid, 'USAGE') as usable
          from (select distinct t.acting from touched t) a cross join pg_namespace n
    ), security as materialized (
        select s.* from mcp._report_row_security(array(select distinct t.acting from touched t)) s
    ), tools as (
        select t.* from mcp._report_tools(array(select s.role from served s where s.offered)) t
    ), lines as (
        select s.role, 0 as rank, 'role' as kind, quote_ident(s.name) as object,
               array_remove(array[case when r.rolsuper then 'SUPERUSER' end, case when r.rolcanlogin then 'LOGIN' else 'NOLOGIN' end,
                                  case when not r.rolinherit then 'NOINHERIT' end, case when r.rolcreaterole then 'CREATEROLE' end,
                                  case when r.rolcreatedb then 'CREATEDB' end, case when r.rolreplication then 'REPLICATION' end,
                                  case when r.rolbypassrls then 'BYPASSRLS' end], null) as privileges,
               null as through, null::oid as grantor, null as row_security, null::text[] as policies, mcp._report_limits(s.role, null) as limits,
               concat_ws('; ', 'served although ' || s.privileged || ' (supabase_mcp.privileged_roles)',
                         case when not s.offered then 'it is offered nothing: it lacks USAGE on schema mcp, or EXECUTE on what mcp.grant_tools grants' end,
                         'valid until ' || case when isfinite(r.rolvaliduntil) then mcp._report_time(r.rolvaliduntil) end,
                         case when s.shared then 'many users share it' end) as note
          from served s join pg_roles r on r.oid = s.role
        union all
        select c.role, 0, 'refused', quote_ident(c.name), null, null, null, null, null, null, 'every call of this role is refused: ' || c.refusal
          from callers c where c.refusal is not null
        union all
        select h.role, 1, 'membership', quote_ident(pg_get_userbyid(h.grantee)),
               array_remove(array[case when h.acting = h.role then 'INHERIT' end,
                                  case when s.direct and (current_setting('server_version_num')::integer < 160000
                                                          or pg_has_role(h.role, h.grantee, case when current_setting('server_version_num')::integer < 160000 then 'MEMBER' else 'SET' end))
                                       then 'SET' end,
                                  case when pg_has_role(h.role, h.grantee, 'MEMBER WITH ADMIN OPTION') then 'ADMIN' end], null),
               h.through, (select min(m.grantor) from pg_auth_members m where m.member = h.role and m.roleid = h.grantee), null, null, null,
               null
          from reach h join served s on s.role = h.role where h.grantee not in (0, h.role)
        union all
        select t.role, array_position('{tool,prompt,resource}', t.kind) + 1, t.kind, t.tool, '{EXECUTE}',
               case when t.grantee is null then 'superuser' when t.grantee = t.owner and t.grantee = t.role then 'owner'
                    when t.grantee = t.owner then 'owner: ' || h.through else h.through end,
               t.grantor, null, null, mcp._report_limits(t.role, t.tool),
               case when t.tool = 'execute_sql' and t.ours then 'free SQL, read-only'
                    when t.tool = 'execute_sql_write' and t.ours then 'free SQL that writes, as the tool execute_sql'
                    else concat_ws('; ', case when t.kind = 'tool' and t.writes then 'may write' when t.kind = 'tool' then 'reads' end,
                                   case when t.sql then 'runs SQL that the caller gives' end,
                                   case when t.definer and not t.ours then format('runs with the rights of its owner %I', pg_get_userbyid(t.owner)) end,
                                   case when not t.ours then 'function ' || t.function::regprocedure end) end
          from tools t left join reach h on h.role = t.role and h.grantee = t.grantee
        union all
        select t.role, array_position('{database,schema,table,view,materialized view,foreign table,sequence,function,procedure}', t.kind) + 10, t.kind, t.name,
               t.privileges, t.through, t.grantor,
               case when t.kind = 'table' then coalesce(y.row_security, 'off') end, y.policies, null,
               nullif(concat_ws('; ', t.remark, case when u.usable is false then 'cannot be used: no USAGE on its schema' end), '')
          from touched t
          left join usable u on u.acting = t.acting and u.schema = t.schema
          left join security y on y.acting = t.acting and y.id = t.id and t.kind = 'table'
    )
    select c.name, c.ways, l.kind, l.object, l.privileges, l.through, pg_get_userbyid(l.grantor), l.row_security, l.policies, l.limits, nullif(l.note, '')
      from lines l join callers c on c.role = l.role
     order by c.name, l.rank nulls last, l.kind, l.object collate "C", l.through collate "C", l.privileges;
end
$$;
comment on function mcp._report_access(oid) is 'The rows of mcp.report_access, for one role or for all';

create function mcp.report_access(role regrole default null)
returns table (role name, ways text[], kind text, object text, privileges text[], through text, grantor name, row_security text, policies text[],
               limits jsonb, note text)
language sql stable rows 10000
set search_path = pg_catalog, pg_temp
-- One long statement with guessed numbers of rows: compiling it would take longer than running it.
set jit = off
set work_mem = '64MB'
as $$ select * from mcp._report_access(role) $$;
comment on function mcp.report_access(regrole) is
    'Who could: every role that can call through the MCP server, or the one, its ways in, and a row for each object that it may call or touch: what it may, through which grant, by whom, and whether row level security holds. Of this database alone';
