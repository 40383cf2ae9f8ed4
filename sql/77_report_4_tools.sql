-- Owns: which tools, prompts and resources a role could call, and through which grant.
-- Runs: as the reader of a report.
-- Must not: choose otherwise than the registry in sql/31_tools.sql and sql/32_tool_call.sql does for the role itself; a test compares them.

create function mcp._report_marked()
returns table (function oid, kind text, tool text, ours boolean, trusted boolean, owner oid, schema oid, acl aclitem[], writes boolean, sql boolean, definer boolean)
language plpgsql stable rows 100
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    functions oid[];
    comments text[];
    unfit constant oid[] := array(select t.oid from pg_type t left join pg_type e on e.oid = t.typelem and t.typcategory = 'A'
                                   where 'p' in (t.typtype, e.typtype));
begin
    select array_agg(p.oid), array_agg(d.description) into functions, comments
      from pg_description d
      join pg_proc p on p.oid = d.objoid
     where d.classoid = 'pg_proc'::regclass and d.objsubid = 0 and d.objoid >= 16384 and starts_with(d.description, '@mcp(') and p.prokind = 'f';
    return query
        select p.oid, k.kind, k.tool, k.ours, k.ours or pg_has_role(p.proowner, a.oid, 'MEMBER'), p.proowner, p.pronamespace,
               coalesce(p.proacl, acldefault('f', p.proowner)), p.provolatile = 'v', k.ours and f.directive -> 'sql' = 'true', p.prosecdef
          from unnest(functions, mcp._read_directives(comments)) f (oid, directive)
          join pg_proc p on p.oid = f.oid
         cross join lateral (select coalesce((select r.oid from pg_roles r where r.rolname = 'mcp_admin'), 10) as oid) a
         cross join lateral (select p.pronamespace = 'mcp'::regnamespace as ours, coalesce(f.directive ->> 'kind', 'tool') as kind,
                                    case when p.pronamespace = 'mcp'::regnamespace then p.proname::text else coalesce(f.directive ->> 'name', p.proname) end as tool) k
         where f.directive is not null
           and (k.kind in ('tool', 'prompt', 'resource') or k.kind = 'variant' and k.ours)
           and (k.ours and k.kind in ('tool', 'variant')
                or p.proretset and (p.prorettype <> all (unfit) or p.proargmodes::text[] && '{o,b,t}') or mcp._returns(p.oid) is not null)
           and (k.kind <> 'resource' or f.directive ->> 'uri' ~ '^[A-Za-z][A-Za-z0-9+.-]*:[^[:space:][:cntrl:]"<>\\^`|]+$')
           and k.tool ~ '^[A-Za-z0-9_.-]+$' and length(k.tool) <= 128
           and (k.ours or not p.prosecdef or f.directive -> 'security_definer' = 'true')
           and (k.ours or not exists (select from mcp._arguments(p.oid) i where i.name = '' or i.type = any (unfit)));
end
$$;
comment on function mcp._report_marked() is
    'The functions that are marked as tools, prompts or resources, whoever may call them; those of an owner who is not trusted are the owner''s alone';

create function mcp._report_tools(roles oid[])
returns table (role oid, kind text, tool text, function oid, grantee oid, grantor oid, writes boolean, sql boolean, definer boolean, owner oid, ours boolean)
language sql stable rows 1000
set search_path = pg_catalog, pg_temp
as $$
    with marked as materialized (
        select m.* from mcp._report_marked() m
    ), callers as materialized (
        select r.oid, r.rolsuper from pg_roles r where r.oid = any (roles)
    ), reach as materialized (
        select c.oid as role, g.grantee from callers c cross join lateral mcp._report_reach(c.oid, false) g
    ), granted as materialized (
        select r.role, m.function, a.grantee, a.grantor
          from marked m cross join lateral aclexplode(m.acl) a join reach r on r.grantee = a.grantee
        union all
        select c.oid, m.function, null, null from callers c cross join marked m where c.rolsuper
    ), usable as (
        select distinct on (g.role, k.kind, m.tool collate "C") g.role, m.*
          from (select distinct g.role, g.function from granted g) g
          join marked m on m.function = g.function
         cross join lateral (select case m.kind when 'variant' then 'tool' else m.kind end as kind) k
         where (m.trusted or m.owner = g.role)
           and has_schema_privilege(g.role, m.schema, 'USAGE')
         -- Of several functions of one name schema mcp's is the tool, else the oldest.
         order by g.role, k.kind, m.tool collate "C", m.ours desc, m.function
    )
    select u.role, case u.kind when 'variant' then 'tool' else u.kind end, u.tool, u.function, g.grantee, g.grantor, u.writes, coalesce(u.sql, false), u.definer, u.owner, u.ours
      from usable u join granted g on g.role = u.role and g.function = u.function
$$;
comment on function mcp._report_tools(oid[]) is
    'The tools, prompts and resources that roles could call, one row for each grant that says so; the grantee is null for a superuser, who needs none';
