-- Owns: the registry: which functions are tools (or prompts, or resources) of the current user.
-- Runs: as the caller, with the caller's rights. There is no second permission system: USAGE and EXECUTE decide.
-- Must not: be SECURITY DEFINER, or name a function that the caller could not call.

create function mcp._returns(function oid) returns text
language plpgsql stable strict
set search_path = pg_catalog, pg_temp
as $$
begin
    return (
        select case
                   when p.prorettype = 'void'::regtype then 'void'
                   -- A bare record has columns only if the function names them.
                   when p.prorettype = 'record'::regtype and not coalesce(p.proargmodes::text[] && array['o', 'b', 't'], false) then null
                   when p.proretset then 'set'
                   when coalesce(b.typtype, t.typtype) = 'c' or p.prorettype = 'record'::regtype then 'row'
                   when t.typtype = 'p' then null
                   when p.prorettype in ('json'::regtype, 'jsonb'::regtype) then 'jsonb'
                   else 'scalar'
               end
          from pg_proc p
          join pg_type t on t.oid = p.prorettype
          left join pg_type b on b.oid = t.typbasetype
         where p.oid = function);
end
$$;
comment on function mcp._returns(oid) is
    '@support The shape of a function''s result: jsonb, row, scalar, set or void; null for one that no tool can have';

create function mcp._features(directive jsonb, ours boolean) returns text[]
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
    -- Whatever else stands there is a mistake that mcp.check() names; the function is then what it would be without it.
    select coalesce(array_agg(f.value #>> '{}') filter (where jsonb_typeof(f.value) = 'string' and f.value <> '""'), case when ours then '{}' else '{custom}' end::text[])
      from jsonb_array_elements(case when jsonb_typeof(directive -> 'features') = 'array' then directive -> 'features' else '[]' end) f
$$;
comment on function mcp._features(jsonb, boolean) is
    '@support The features that a directive names, the groups that clients ask for; functions outside schema mcp are of the feature custom without that';

create function mcp._in_toolset(tool text, features text[], "only" jsonb) returns boolean
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
    select not exists (
        select from jsonb_array_elements("only") l
         where not exists (
               select from jsonb_array_elements_text(l.value) w
                where w.value in (tool, 'all') or case w.value when 'debug' then 'debugging' else w.value end = any (features)))
$$;
comment on function mcp._in_toolset(text, text[], jsonb) is
    '@support Whether every one of some lists of words, [["database", "list_x"], ["docs"]], has the name of a tool, one of its features, or all';

create function mcp._marked(wanted text default null, wanted_kind text default 'tool')
returns table (function oid, tool text, ours boolean, volatility "char", returns text, directive jsonb, kind text, features text[], definer boolean)
language plpgsql stable rows 20
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    functions oid[];
    comments text[];
    unfit constant oid[] := array(select t.oid from pg_type t left join pg_type e on e.oid = t.typelem and t.typcategory = 'A'
                                   where 'p' in (t.typtype, e.typtype));
begin
    -- The directives are read together, which is a small part of what reading one after the other costs.
    with administrators as materialized (
        -- Superusers are members of every role; without mcp_admin only they are left.
        select coalesce((select r.oid from pg_roles r where r.rolname = 'mcp_admin'), 10) as role,
               (select r.oid from pg_roles r where r.rolname = current_user) as caller
    )
    select array_agg(p.oid), array_agg(d.description) into functions, comments
      from pg_description d
      join pg_proc p on p.oid = d.objoid
      join pg_namespace n on n.oid = p.pronamespace
     cross join administrators a
     where d.classoid = 'pg_proc'::regclass
       and d.objsubid = 0
       -- Below are the functions of initdb, thousands of comments that cannot be directives.
       and d.objoid >= 16384
       and starts_with(d.description, '@mcp(')
       and (wanted is null or p.proname = wanted or strpos(d.description, '"name"') > 0)
       and p.prokind = 'f'
       and has_schema_privilege(n.oid, 'USAGE')
       and has_function_privilege(p.oid, 'EXECUTE')
       -- New functions can be executed by PUBLIC, and a model reads a tool's text as instructions: without this, whoever
       -- may create a function could speak to everybody's models. A role's own functions are its own affair.
       and (n.nspname = 'mcp' or p.proowner = a.caller or pg_has_role(p.proowner, a.role, 'MEMBER'));
    if functions is null then
        return;
    end if;

    return query
        with named as materialized (
            select p.oid, p.pronargs, p.proargnames, p.proallargtypes, p.proargtypes, p.proargmodes, p.prosecdef, p.provolatile, p.proretset, p.prorettype,
                   n.nspname = 'mcp' as ours, f.directive,
                   case when n.nspname = 'mcp' then p.proname::text else coalesce(f.directive ->> 'name', p.proname) end as tool,
                   coalesce(f.directive ->> 'kind', 'tool') as kind
              from unnest(functions, mcp._read_directives(comments)) f (oid, directive)
             cross join lateral (select * from pg_proc p where p.oid = f.oid offset 0) p
              join pg_namespace n on n.oid = p.pronamespace
             where f.directive is not null
        )
        select c.oid, c.tool, c.ours, c.provolatile, r.returns, c.directive, c.kind,
               case when c.directive ? 'features' then mcp._features(c.directive, c.ours) when c.ours then '{}' else '{custom}' end::text[],
               c.prosecdef
          from named c
         cross join lateral (select case when c.ours and c.kind in ('tool', 'variant') then 'jsonb'
                                         when c.proretset and (c.prorettype <> all (unfit) or c.proargmodes::text[] && '{o,b,t}') then 'set' else mcp._returns(c.oid) end as returns offset 0) r
         where (c.kind = wanted_kind or wanted_kind = 'tool' and c.kind = 'variant' and c.ours)
           and r.returns is not null
           and c.tool ~ '^[A-Za-z0-9_.-]+$' and length(c.tool) <= 128
           -- What runs with another's rights is opened to models by a word of its own, never by the way.
           and (c.ours or not c.prosecdef or c.directive -> 'security_definer' = 'true')
           -- Arguments are given by name, and must be of types that values can be given for.
           and (c.ours or c.pronargs = 0
                or cardinality(c.proargnames) > 0 and not ('' = any (c.proargnames) or coalesce(c.proallargtypes, c.proargtypes::oid[]) && unfit)
                or not exists (select from mcp._arguments(c.oid) i where i.name = '' or i.type = any (unfit)));
end
$$;
comment on function mcp._marked(text, text) is
    '@support Functions marked as tools, prompts or resources that the current user may call, before duplicate names are settled; with a name, at least those of that name';
