-- Owns: the registry: which functions are tools of the current user, and how they are listed.
-- Runs: as the caller, with the caller's rights. There is no second permission system: USAGE and EXECUTE decide.
-- Must not: be SECURITY DEFINER, or list a tool that the caller could not call.

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
                   when t.typtype = 'c' or p.prorettype = 'record'::regtype then 'row'
                   when t.typtype = 'p' then null
                   when p.prorettype in ('json'::regtype, 'jsonb'::regtype) then 'jsonb'
                   else 'scalar'
               end
          from pg_proc p
          join pg_type t on t.oid = p.prorettype
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
    select coalesce(nullif(array_agg(f.value) filter (where f.value <> ''), '{}'), case when ours then '{}' else '{custom}' end::text[])
      from jsonb_array_elements_text(case when jsonb_typeof(directive -> 'features') = 'array' then directive -> 'features' else '[]' end) f
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
begin
    return query
        with administrators as materialized (
            -- Superusers are members of every role; without mcp_admin only they are left.
            select coalesce((select r.oid from pg_roles r where r.rolname = 'mcp_admin'), 10) as role,
                   (select r.oid from pg_roles r where r.rolname = current_user) as caller
        ), marked as materialized (
            select p.oid, p.proname, p.provolatile, p.prosecdef, n.nspname = 'mcp' as ours, mcp._directive(d.description) as directive
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
               and (n.nspname = 'mcp' or p.proowner = a.caller or pg_has_role(p.proowner, a.role, 'MEMBER'))
        ), named as (
            select m.*, case when m.ours then m.proname::text else coalesce(m.directive ->> 'name', m.proname) end as tool,
                   coalesce(m.directive ->> 'kind', 'tool') as kind, mcp._returns(m.oid) as returns
              from marked m
             where m.directive is not null
        )
        select c.oid, c.tool, c.ours, c.provolatile, c.returns, c.directive, c.kind, mcp._features(c.directive, c.ours), c.prosecdef
          from named c
         where (c.kind = wanted_kind or wanted_kind = 'tool' and c.kind = 'variant' and c.ours)
           and c.returns is not null
           and c.tool ~ '^[A-Za-z0-9_.-]{1,128}$'
           -- What runs with another's rights is opened to models by a word of its own, never by the way.
           and (c.ours or not c.prosecdef or c.directive -> 'security_definer' = 'true')
           -- Arguments are given by name, and must be of types that values can be given for.
           and not exists (select from mcp._arguments(c.oid) i where i.name = '' or mcp._type_schema(i.type) is null);
end
$$;
comment on function mcp._marked(text, text) is
    '@support Functions marked as tools, prompts or resources that the current user may call, before duplicate names are settled; with a name, at least those of that name';

create function mcp._annotations(volatility "char", title text, said jsonb) returns jsonb
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
    return (
        select jsonb_build_object('title', title,
                                  'readOnlyHint', volatility <> 'v',
                                  'destructiveHint', volatility = 'v',
                                  'idempotentHint', volatility <> 'v',
                                  'openWorldHint', false)
               || coalesce((select jsonb_object_agg(s.key, s.value)
                              from jsonb_each(case when jsonb_typeof(said) = 'object' then said else '{}' end) s
                             where s.key in ('readOnlyHint', 'destructiveHint', 'idempotentHint', 'openWorldHint')
                               and jsonb_typeof(s.value) = 'boolean'), '{}'));
end
$$;
comment on function mcp._annotations("char", text, jsonb) is
    '@support A tool''s hints: from the volatility of its function, changed where the directive says so';

create function mcp._output_schema(said jsonb) returns jsonb
language plpgsql immutable strict
set search_path = pg_catalog, pg_temp
as $$
begin
    return (
        select jsonb_build_object('type', 'object', 'properties', coalesce(jsonb_object_agg(o.name, o.schema), '{}'))
               || case when count(*) filter (where o.required) > 0
                       then jsonb_build_object('required', jsonb_agg(o.name order by o.place) filter (where o.required)) else '{}' end
          from (select rtrim(k.key, '?') as name, k.key !~ '\?$' as required, k.place,
                       case jsonb_typeof(k.value) when 'string' then jsonb_build_object('type', k.value)
                                                  when 'object' then k.value else '{}' end as schema
                  from jsonb_each(said) with ordinality as k (key, value, place)) o);
end
$$;
comment on function mcp._output_schema(jsonb) is
    '@support JSON Schema of a result whose keys a directive lists: {"tables": "array", "next?": "string"}, where ? is for a key that may be missing';

create function mcp._tools("only" jsonb default '[]', read_only boolean default false) returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    lists constant jsonb := case
        when "only" <> '[]' then "only"
        else jsonb_build_array(to_jsonb(regexp_split_to_array(
                 btrim(coalesce(nullif(btrim(current_setting('supabase_mcp.features', true)), ''), 'database,debugging,development,docs,custom')),
                 '\s*,\s*'))) end;
begin
    -- Of several functions of one name schema mcp's is the tool, else the oldest. A variant (execute_sql_write) is no tool of
    -- its own: whoever may execute both it and the tool sees the tool in the variant's words. mcp._find_tool chooses alike.
    return (
        with marked as materialized (
            select * from mcp._marked()
        ), tools as (
            select distinct on (m.tool) m.tool, m.function, m.features, coalesce(v.volatility, m.volatility) as volatility,
                   coalesce(v.directive, m.directive) as directive
              from marked m
              left join marked v on m.ours and v.ours and v.tool = m.tool || '_write' and v.kind = 'variant' and read_only is not true
             where m.kind = 'tool'
             order by m.tool, m.ours desc, m.function
        ), titled as (
            select t.*, case when jsonb_typeof(t.directive -> 'title') = 'string' then t.directive ->> 'title'
                             else upper(left(t.tool, 1)) || replace(substr(t.tool, 2), '_', ' ') end as title
              from tools t
             where mcp._in_toolset(t.tool, t.features, lists)
               and (read_only is not true or t.volatility <> 'v')
        )
        select coalesce(
                   jsonb_agg(
                       jsonb_build_object('name', t.tool,
                                          'title', t.title,
                                          'inputSchema', mcp._input_schema(t.function, t.directive),
                                          'annotations', mcp._annotations(t.volatility, t.title, t.directive -> 'annotations'))
                       || case when jsonb_typeof(t.directive -> 'output') = 'object'
                               then jsonb_build_object('outputSchema', mcp._output_schema(t.directive -> 'output')) else '{}' end
                       || case when t.directive ->> 'description' = '' then '{}'
                               else jsonb_build_object('description', t.directive -> 'description') end
                       order by t.tool collate "C"),
                   '[]')
          from titled t);
end
$$;
comment on function mcp._tools(jsonb, boolean) is
    '@support The tools of the current user, as MCP lists them, ordered by name: those that some lists of words allow (see mcp._in_toolset), or those of the features in the setting supabase_mcp.features';
