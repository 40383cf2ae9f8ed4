-- The rules that every object of the extension keeps: no grant to PUBLIC but for current_caller, a comment, a pinned search_path.
-- Runs as a superuser; changes nothing.
set client_min_messages = error;
create extension if not exists supabase_mcp;

-- Nobody but the owner and mcp_admin has any privilege. PUBLIC may ask who calls: a policy asks it as whoever fires it.
create temp table privileges as
    select 'schema' as kind, n.nspname::text as name, a.grantee, a.privilege_type, a.is_grantable, n.nspowner as owner
      from pg_namespace n, aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a where n.nspname = 'mcp'
    union all
    select 'function', p.oid::regprocedure::text, a.grantee, a.privilege_type, a.is_grantable, p.proowner
      from pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a where p.pronamespace = 'mcp'::regnamespace
    union all
    select 'table', c.oid::regclass::text, a.grantee, a.privilege_type, a.is_grantable, c.relowner
      from pg_class c, aclexplode(coalesce(c.relacl, acldefault(case c.relkind when 'S' then 's' else 'r' end::"char", c.relowner))) a
     where c.relnamespace = 'mcp'::regnamespace and c.relkind in ('r', 'v', 'S')
    union all
    select 'column', a.attrelid::regclass || '.' || a.attname, x.grantee, x.privilege_type, x.is_grantable, c.relowner
      from pg_attribute a join pg_class c on c.oid = a.attrelid, aclexplode(a.attacl) x where c.relnamespace = 'mcp'::regnamespace;
select kind, name, privilege_type from privileges where grantee = 0 order by kind collate "C", name collate "C", privilege_type collate "C";
select kind, name, grantee::regrole, privilege_type from privileges
 where grantee not in (0, owner) and grantee <> 'mcp_admin'::regrole order by kind collate "C", name collate "C", grantee::regrole::text collate "C", privilege_type collate "C";
select kind, name, privilege_type, is_grantable from privileges where grantee = 'mcp_admin'::regrole order by kind collate "C", name collate "C", privilege_type collate "C";

-- Everything that belongs to the extension has a comment, with columns, triggers and policies.
with members as (
    select d.classid, d.objid, 0 as objsubid from pg_depend d
     where d.refclassid = 'pg_extension'::regclass and d.deptype = 'e'
       and d.refobjid = (select oid from pg_extension where extname = 'supabase_mcp')
), objects as (
    select * from members
    union select 'pg_namespace'::regclass, 'mcp'::regnamespace, 0
    union select 'pg_class'::regclass, a.attrelid, a.attnum from members m join pg_attribute a on a.attrelid = m.objid and a.attnum > 0
           join pg_class c on c.oid = a.attrelid and c.relkind <> 'S' where m.classid = 'pg_class'::regclass
    union select 'pg_trigger'::regclass, t.oid, 0 from members m join pg_trigger t on t.tgrelid = m.objid and not t.tgisinternal where m.classid = 'pg_class'::regclass
    union select 'pg_policy'::regclass, p.oid, 0 from members m join pg_policy p on p.polrelid = m.objid where m.classid = 'pg_class'::regclass
    union select 'pg_constraint'::regclass, k.oid, 0 from members m join pg_constraint k on k.conrelid = m.objid and k.contype <> 'n' where m.classid = 'pg_class'::regclass
)
select pg_describe_object(o.classid, o.objid, o.objsubid) collate "C" as without_comment
  from objects o
 where not exists (select from pg_description d where d.classoid = o.classid and d.objoid = o.objid and d.objsubid = o.objsubid)
   -- A table's row type and its array are part of the table.
   and o.classid <> 'pg_type'::regclass
 order by 1;
select rolname, shobj_description(oid, 'pg_authid') is not null as commented, rolcanlogin, rolinherit, rolsuper, rolcreaterole, rolcreatedb,
       rolreplication, rolbypassrls, rolconnlimit
  from pg_roles where rolname in ('mcp_admin', 'mcp_bridge') order by 1;
select count(*) from pg_auth_members where member = 'mcp_bridge'::regrole;
select has_database_privilege('mcp_bridge', current_database(), 'CONNECT');

-- Every function but the library's has its search_path pinned.
select p.oid::regprocedure as without_search_path
  from pg_proc p
 where p.pronamespace = 'mcp'::regnamespace
   and not exists (select from unnest(p.proconfig) c where c = 'search_path=pg_catalog, pg_temp')
 order by p.proname;
select p.oid::regprocedure as security_definer from pg_proc p where p.pronamespace = 'mcp'::regnamespace and p.prosecdef order by p.proname;

-- What is not private is here.
select p.oid::regprocedure::text collate "C" as function, p.provolatile as volatility, p.prorettype::regtype as returns
  from pg_proc p where p.pronamespace = 'mcp'::regnamespace and p.proname !~ '^_' order by 1;
select c.oid::regclass::text collate "C" as relation, c.relkind, c.relrowsecurity from pg_class c
 where c.relnamespace = 'mcp'::regnamespace and c.relkind in ('r', 'v', 'S') order by 1;

-- Rows of these are kept by pg_dump.
select array_agg(c::regclass::text order by c::regclass::text collate "C") as dumped
  from pg_extension, unnest(extconfig) c where extname = 'supabase_mcp';
select extrelocatable, extnamespace::regnamespace from pg_extension where extname = 'supabase_mcp';

-- mcp._find_tool relies on how the built-in tools are marked.
select b.tool, b.writes, p.prorettype = 'jsonb'::regtype as returns_jsonb,
       obj_description(p.oid, 'pg_proc') ~ '^@mcp\(\{"kind": "(tool|variant)"' as marked_first
  from mcp._builtin_tools() b join pg_proc p on p.oid = b.function order by b.tool collate "C";
select array_agg(e.value ->> 'name' order by e.value ->> 'name') =
       (select array_agg(b.tool order by b.tool) from mcp._builtin_tools() b where b.tool <> 'execute_sql_write') as all_listed,
       bool_and(mcp._tool_call(e.value ->> 'name') is not null) as all_found
  from jsonb_array_elements(mcp._tools('[["all"]]')) e;
