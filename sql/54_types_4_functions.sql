-- Owns: the functions that generate_typescript_types lists: what they take and return, and which of them cannot be told apart.
-- Runs: as the caller; from the catalogs.
-- Must not: show a function that the caller may not execute.

create function mcp._ts_functions(schemas text[])
returns table (function oid, schema name, name name, place bigint, ins jsonb, result jsonb, suffix text, options text,
               same text, source oid, unfit boolean)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    -- ins: [{"name", "key", "type", "optional", "members", "depth", "relation"}] sorted by name. result: {"fields": [...]} or {"members", "depth"}.
    -- source: the table whose rows it takes, if it is a computed column. same: arguments as written, which overloads are sorted by.
    -- unfit: it takes a row and gives no rows, which a client cannot call.
    with types as materialized (
        select * from mcp._ts_types(schemas)
    ), relations as materialized (
        select * from mcp._ts_relations(schemas)
    ), functions as materialized (
        select p.*, n.nspname,
               regexp_replace(pg_get_function_arguments(p.oid), '\mpublic\.', '', 'g') as arguments,
               regexp_replace(pg_get_function_identity_arguments(p.oid), '\mpublic\.', '', 'g') as identity,
               regexp_replace(pg_get_function_result(p.oid), '\mpublic\.', '', 'g') as returns
          from pg_namespace n
          join pg_proc p on p.pronamespace = n.oid
         where n.nspname = any (schemas)
           and p.prokind = 'f'
           and p.prorettype not in ('trigger'::regtype, 'event_trigger'::regtype)
           and has_schema_privilege(n.oid, 'USAGE')
           and has_function_privilege(p.oid, 'EXECUTE')
    ), arguments as (
        -- Defaults are counted as if no output argument stood between the others, as PostgREST's clients do.
        select f.oid, u.place, coalesce(u.name, '') as name, u.type, coalesce(u.mode, 'i') as mode,
               u.place > f.pronargs - f.pronargdefaults and u.place <= f.pronargs as optional,
               coalesce(y.members, '{unknown}') as members, coalesce(y.depth, 0) as depth, y.relation
          from functions f
         cross join lateral unnest(f.proargnames, coalesce(f.proallargtypes, f.proargtypes::oid[]), f.proargmodes::text[])
                            with ordinality as u (name, type, mode, place)
          left join types y on y.type = u.type
         where u.type is not null
    ), taken as (
        select a.oid, count(*) as number, count(*) filter (where a.name = '') as unnamed,
               bool_and(a.name <> '' or a.optional and a.type in (114, 3802, 25)) as all_known,
               bool_and(a.type in (114, 3802, 25) or a.relation is not null) as single_known,
               jsonb_agg(jsonb_build_object('name', a.name, 'key', mcp._ts_key(a.name) || case when a.optional then '?' else '' end,
                                            'type', a.type::bigint, 'optional', a.optional, 'members', a.members, 'depth', a.depth,
                                            'relation', a.relation::bigint)
                         order by mcp._ts_order(a.name) collate "C", a.place) as ins
          from arguments a
         where a.mode in ('i', 'b', 'v')
         group by a.oid
    ), alone as (
        select a.oid, min(a.type) filter (where a.relation is not null) as row_type from arguments a group by a.oid having count(*) = 1
    ), given as (
        select a.oid, jsonb_agg(jsonb_build_object('key', mcp._ts_key(a.name), 'members', a.members, 'depth', a.depth, 'nullable', false)
                                order by mcp._ts_order(a.name) collate "C", a.place) as fields
          from arguments a
         where a.mode = 't'
         group by a.oid
    ), fields as (
        select c.relation,
               jsonb_agg(jsonb_build_object('key', c.key, 'members', c.members, 'depth', c.depth, 'nullable', c.nullable)
                         order by c.place collate "C") as fields
          from mcp._ts_columns(schemas) c
         where c.relation in (select t.typrelid from functions f join pg_type t on t.oid = f.prorettype)
         group by c.relation
    ), described as (
        select f.*, coalesce(t.ins, '[]') as ins, rt.typname as row_name, f.proretset and f.prorows > 1 as many,
               case when g.fields is not null then jsonb_build_object('fields', g.fields)
                    when r.relation is not null then jsonb_build_object('fields', coalesce(l.fields, '[]'))
                    else jsonb_build_object('members', coalesce(y.members, '{unknown}'), 'depth', coalesce(y.depth, 0)) end as result,
               w.row_type, case when t.number = 1 and t.ins #>> '{0,relation}' is not null then (t.ins #>> '{0,relation}')::oid
                                else s.relation end as source,
               t.number = 1 and t.unnamed = 1 and t.ins #>> '{0,relation}' is not null and rt.oid is null as unfit
          from functions f
          left join taken t on t.oid = f.oid
          left join alone w on w.oid = f.oid
          left join given g on g.oid = f.oid
          left join pg_type rt on rt.oid = f.prorettype and rt.typrelid <> 0
          left join types y on y.type = f.prorettype
          left join relations r on r.relation = rt.typrelid and r.schema = f.nspname
          left join fields l on l.relation = r.relation
          left join relations s on s.schema = f.nspname and s.name = f.arguments
         -- PostgREST calls arguments by name; one without a name only if it is the whole body, or a row.
         where t.oid is null or t.unnamed = 0 or t.all_known or t.number = 1 and t.single_known
    )
    select d.oid, d.nspname, d.proname,
           row_number() over (partition by d.nspname
                              order by mcp._ts_order(d.proname) collate "C", mcp._ts_order(d.identity) collate "C", d.oid),
           d.ins, d.result,
           case when d.proretset and (d.many or d.row_name is null) then '[]' else '' end,
           -- With it a client knows what may be selected from the result.
           case when d.row_name is not null then
                    format(E'SetofOptions: {\n  from: %s\n  to: %s\n  isOneToOne: %s\n  isSetofReturn: %s\n}',
                           case when d.row_type is null then '"*"'
                                else mcp._ts_string(regexp_replace(format_type(d.row_type, null), '^public\.', '')) end,
                           mcp._ts_string(d.row_name), (not d.many)::text, d.proretset::text) end,
           mcp._ts_order(d.arguments) || E'\x01' || mcp._ts_order(d.returns),
           d.source, coalesce(d.unfit, false)
      from described d
$$;
comment on function mcp._ts_functions(text[]) is
    '@support The functions of some schemas that the current user may execute, and what they take and return in TypeScript';
