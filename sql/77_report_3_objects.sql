-- Owns: what there is to be granted in a database, and to whom it is: every object with an access list, its owner, its grants, its policies.
-- Runs: as the reader of a report; the catalogs tell everybody.
-- Must not: ask for one object at a time: a database may have tens of thousands.

create function mcp._report_objects()
returns table (kind text, class oid, id oid, name text, schema oid, owner oid, acl aclitem[], ordinary boolean, remark text)
language sql stable rows 10000
set search_path = pg_catalog, pg_temp
as $$
    -- ordinary: all that is granted on it is told. Of what came with the server or with this extension, and of types and languages, which
    -- everybody may use, the owner's rights and what PUBLIC was given from the start are passed over.
    select 'database', 'pg_database'::regclass::oid, d.oid, quote_ident(d.datname), null::oid, d.datdba, coalesce(d.datacl, acldefault('d', d.datdba)), true, null
      from pg_database d where d.datname = current_database()
    union all
    select 'schema', 'pg_namespace'::regclass, n.oid, quote_ident(n.nspname), null, n.nspowner, coalesce(n.nspacl, acldefault('n', n.nspowner)),
           n.nspname not in ('pg_catalog', 'information_schema', 'mcp'), null
      from pg_namespace n where n.nspname !~ '^pg_(toast|temp)'
    union all
    select case c.relkind when 'v' then 'view' when 'm' then 'materialized view' when 'f' then 'foreign table' when 'S' then 'sequence' else 'table' end,
           'pg_class'::regclass, c.oid, format('%I.%I', n.nspname, c.relname), n.oid, c.relowner,
           coalesce(c.relacl, acldefault(case c.relkind when 'S' then 's' else 'r' end::"char", c.relowner)),
           n.nspname not in ('pg_catalog', 'information_schema', 'mcp'),
           case when c.relkind = 'v' and not coalesce((select o.option_value::boolean from pg_options_to_table(c.reloptions) o where o.option_name = 'security_invoker'), false)
                then format('reads with the rights of its owner %I', pg_get_userbyid(c.relowner))
                when c.relkind in ('m', 'f') then 'row level security does not cover it' end
      from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where c.relkind in ('r', 'p', 'v', 'm', 'f', 'S') and n.nspname !~ '^pg_(toast|temp)'
    union all
    -- Marked functions are told of as tools; what helps tools runs with the caller's own rights and tells nothing by itself.
    select case p.prokind when 'p' then 'procedure' else 'function' end, 'pg_proc'::regclass, p.oid, p.oid::regprocedure::text, n.oid, p.proowner,
           coalesce(p.proacl, acldefault('f', p.proowner)), n.nspname not in ('pg_catalog', 'information_schema', 'mcp'),
           case when p.prosecdef then format('runs with the rights of its owner %I', pg_get_userbyid(p.proowner)) end
      from pg_proc p join pg_namespace n on n.oid = p.pronamespace
     where p.prorettype not in ('trigger'::regtype, 'event_trigger'::regtype) and n.nspname !~ '^pg_temp'
       and (n.nspname <> 'mcp' or coalesce(obj_description(p.oid, 'pg_proc'), '') !~ '^@(support |mcp\()')
       -- Those of initdb as initdb left them, thousands, are passed over early.
       and (p.oid >= 16384 or p.proacl is not null)
    union all
    select 'type', 'pg_type'::regclass, t.oid, t.oid::regtype::text, t.typnamespace, t.typowner, t.typacl, false, null from pg_type t where t.typacl is not null
    union all
    select 'language', 'pg_language'::regclass, l.oid, quote_ident(l.lanname), null, l.lanowner, l.lanacl, false, null from pg_language l where l.lanacl is not null
    union all
    select 'foreign data wrapper', 'pg_foreign_data_wrapper'::regclass, f.oid, quote_ident(f.fdwname), null, f.fdwowner, coalesce(f.fdwacl, acldefault('F', f.fdwowner)), true, null
      from pg_foreign_data_wrapper f
    union all
    select 'foreign server', 'pg_foreign_server'::regclass, s.oid, quote_ident(s.srvname), null, s.srvowner, coalesce(s.srvacl, acldefault('S', s.srvowner)), true, null
      from pg_foreign_server s
    union all
    select 'tablespace', 'pg_tablespace'::regclass, t.oid, quote_ident(t.spcname), null, t.spcowner, coalesce(t.spcacl, acldefault('t', t.spcowner)), true, null
      from pg_tablespace t where t.spcname <> 'pg_global'
    union all
    select 'large object', 'pg_largeobject_metadata'::regclass, m.oid, m.oid::text, null, m.lomowner, coalesce(m.lomacl, acldefault('L', m.lomowner)), true, null
      from pg_largeobject_metadata m
    union all
    select 'setting', 'pg_parameter_acl'::regclass, p.oid, p.parname, null, null, p.paracl, true, null from pg_parameter_acl p
    union all
    -- What nobody has made yet.
    select 'default privilege', 'pg_default_acl'::regclass, d.oid,
           format('%s that %I makes%s', case d.defaclobjtype when 'r' then 'tables' when 'S' then 'sequences' when 'f' then 'functions' when 'T' then 'types'
                                                             when 'n' then 'schemas' else 'large objects' end,
                  pg_get_userbyid(d.defaclrole), ' in schema ' || quote_ident(n.nspname)),
           null, d.defaclrole, d.defaclacl, false, null
      from pg_default_acl d left join pg_namespace n on n.oid = d.defaclnamespace
$$;
comment on function mcp._report_objects() is 'What can be granted in this database, with owners and access lists; where no list is written down, the one that Postgres has built in';

create function mcp._report_grants()
returns table (kind text, class oid, id oid, name text, schema oid, owner oid, remark text, grantee oid, grantor oid, privileges text[])
language sql stable rows 20000
set search_path = pg_catalog, pg_temp
as $$
    with objects as materialized (
        select * from mcp._report_objects()
    ), given as materialized (
        select i.classoid as class, i.objoid as id, i.objsubid as number, a.privilege_type as privilege
          from pg_init_privs i cross join lateral aclexplode(i.initprivs) a where a.grantee = 0
        union all
        -- Made after initdb wrote those down.
        select o.class, o.id, 0, a.privilege_type
          from objects o cross join lateral aclexplode(o.acl) a
         where a.grantee = 0 and o.id < 16384 and 'information_schema'::regnamespace in (o.schema, case when o.kind = 'schema' then o.id end)
    ), items as (
        select o.class, o.id, a.grantee, a.grantor, a.privilege_type as privilege, a.is_grantable as grantable, null::text as columns
          from objects o cross join lateral aclexplode(o.acl) a
         where o.ordinary
            or a.grantee is distinct from o.owner
               and not (a.grantee = 0 and exists (select from given g where g.class = o.class and g.id = o.id and g.number = 0 and g.privilege = a.privilege_type))
        union all
        select 'pg_class'::regclass::oid, t.attrelid, a.grantee, a.grantor, a.privilege_type, a.is_grantable, string_agg(quote_ident(t.attname), ', ' order by t.attnum)
          from pg_attribute t cross join lateral aclexplode(t.attacl) a
         where t.attacl is not null and t.attnum > 0 and not t.attisdropped
           and not (a.grantee = 0 and exists (select from given g
                                               where g.class = 'pg_class'::regclass and g.id = t.attrelid and g.number = t.attnum and g.privilege = a.privilege_type))
         group by 2, 3, 4, 5, 6
    ), granted as (
        select i.class, i.id, i.grantee, i.grantor,
               array_agg(i.privilege || coalesce(' (' || i.columns || ')', '') || case when i.grantable and i.grantee <> i.grantor then ' with grant option' else '' end
                         order by array_position('{SELECT,INSERT,UPDATE,DELETE}', i.privilege), i.privilege, i.columns nulls first) as privileges
          from items i group by 1, 2, 3, 4
    )
    select o.kind, o.class, o.id, o.name, o.schema, o.owner, o.remark, g.grantee, g.grantor, g.privileges
      from granted g join objects o on o.class = g.class and o.id = g.id
    union all
    -- An owner who took all rights from himself can give them back.
    select o.kind, o.class, o.id, o.name, o.schema, o.owner, o.remark, o.owner, null, '{}'
      from objects o where o.ordinary and o.owner is not null and not exists (select from aclexplode(o.acl) a where a.grantee = o.owner)
$$;
comment on function mcp._report_grants() is
    'Every grant of this database: an object, to whom (0 for PUBLIC), by whom, and what; those on columns with the columns';

create function mcp._report_row_security(acting oid[])
returns table (acting oid, id oid, row_security text, policies text[])
language sql stable rows 1000
set search_path = pg_catalog, pg_temp
as $$
    with roles as materialized (
        select r.oid, r.rolsuper, r.rolbypassrls from pg_roles r where r.oid = any (_report_row_security.acting)
    ), targets as materialized (
        -- Which of the roles that policies name a role is, once for each pair.
        select r.oid as role, t.target from roles r cross join (select distinct unnest(p.polroles) as target from pg_policy p) t
         where t.target = 0 or pg_has_role(r.oid, t.target, 'USAGE')
    ), owners as materialized (
        select r.oid as role, o.owner from roles r cross join (select distinct c.relowner as owner from pg_class c where c.relrowsecurity) o
         where pg_has_role(r.oid, o.owner, 'USAGE')
    ), applied as materialized (
        select distinct t.role, p.polrelid, p.polname, p.polpermissive, p.polcmd
          from pg_policy p cross join lateral unnest(p.polroles) u (target) join targets t on t.target = u.target
    ), named as materialized (
        select a.role, a.polrelid,
               array_agg(format('%I (%s%s)', a.polname, case a.polcmd when '*' then 'ALL' when 'r' then 'SELECT' when 'a' then 'INSERT' when 'w' then 'UPDATE' else 'DELETE' end,
                                case when a.polpermissive then '' else ', restrictive' end) order by a.polname) as policies
          from applied a group by 1, 2
    )
    select r.oid, c.oid, b.row_security, case when b.row_security in ('on', 'forced') then coalesce(n.policies, '{}') end
      from roles r
     cross join pg_class c
      left join owners o on o.role = r.oid and o.owner = c.relowner
      left join named n on n.role = r.oid and n.polrelid = c.oid
     cross join lateral (select case when r.rolsuper then 'bypassed by a superuser'
                                     when r.rolbypassrls then 'bypassed with BYPASSRLS'
                                     when o.role is not null and not c.relforcerowsecurity then 'bypassed by the owner'
                                     when c.relforcerowsecurity then 'forced'
                                     else 'on' end as row_security) b
     where c.relkind in ('r', 'p') and c.relrowsecurity
$$;
comment on function mcp._report_row_security(oid[]) is
    'Of the tables with row level security: whether it holds for each of some roles, and the policies that apply to them; none of them means that no row is let through';
