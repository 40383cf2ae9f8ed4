-- Owns: the tool generate_typescript_types. Its text is what Supabase's own generator (@supabase/postgres-meta 0.99) writes for the same database
-- with one-to-one relationships detected, so that a program made with the one compiles with the other.
-- Runs: as the caller; from the catalogs.
-- Must not: show what the caller may not use.
--
-- Which schemas: those that are named, else those that PostgREST is set to expose, else public, as Supabase's hosted server does. So the
-- schemas of the platform (auth, cron, extensions, graphql, net, realtime, vault and the like), which Supabase's server for one's own
-- machines excludes by name, are not in it unless they are asked for.

create function mcp._ts_entries(schemas text[]) returns table (schema name, kind text, place text, item text)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    with relations as materialized (
        select * from mcp._ts_relations(schemas)
    ), functions as materialized (
        select * from mcp._ts_functions(schemas)
    ), lines as (
        -- Most types fit into their line of 80, and need no more thought. What a view takes may be null.
        select c.relation, c.place,
               case when octet_length(c.key || t.shown) <= 68 then '          ' || c.key || ': ' || t.shown
                    else mcp._ts_field(10, c.key, c.members, c.depth, c.nullable) end as selected,
               case when c.fixed then '          ' || c.key || '?: never'
                    when octet_length(k.given || t.given) <= 68 then '          ' || k.given || ': ' || t.given
                    else mcp._ts_field(10, k.given, v.members, c.depth, v.nullable) end as inserted,
               case when c.fixed then '          ' || c.key || '?: never'
                    when octet_length(c.key || t.given) <= 67 then '          ' || c.key || '?: ' || t.given
                    else mcp._ts_field(10, c.key || '?', v.members, c.depth, v.nullable) end as updated
          from mcp._ts_columns(schemas) c
          join relations r on r.relation = c.relation
         cross join lateral (select c.nullable or r.kind = 'Views' as nullable,
                                    case when r.kind = 'Views' and c.flat = 'NonNullable<Json>' then 'Json' else c.flat end as flat,
                                    case when r.kind = 'Views' and c.flat = 'NonNullable<Json>' then '{Json}' else c.members end as members) v
         cross join lateral (select c.flat || case when c.nullable and c.flat <> 'unknown' then ' | null' else '' end as shown,
                                    v.flat || case when v.nullable and v.flat <> 'unknown' then ' | null' else '' end as given) t
         cross join lateral (select case when v.nullable or c.optional then c.key || '?' else c.key end as given) k
    ), columns as (
        select l.relation, string_agg(l.selected, E'\n' order by l.place collate "C") as selected,
               string_agg(l.inserted, E'\n' order by l.place collate "C") as inserted,
               string_agg(l.updated, E'\n' order by l.place collate "C") as updated
          from lines l
         group by l.relation
    ), computed as (
        -- A function of a row is selected as if it were a column.
        select f.source as relation,
               string_agg(case when f.result ? 'fields' and f.result -> 'fields' <> '[]'
                               then format(E'          %s: {\n%s\n          } | null', mcp._ts_key(f.name), mcp._ts_fields(12, f.result -> 'fields'))
                               when f.result ? 'fields' then format('          %s: {} | null', mcp._ts_key(f.name))
                               else mcp._ts_fields(10, jsonb_build_array(f.result || jsonb_build_object('key', mcp._ts_key(f.name), 'nullable', true)))
                          end, E'\n' order by f.place) as fields
          from functions f
          join relations r on r.relation = f.source and r.schema = f.schema
         group by f.source
    ), keys as (
        select k.relation, string_agg(k.item, E'\n' order by k.place) as items from mcp._ts_relationships(schemas) k group by k.relation
    ), enums as (
        select n.nspname, t.typname, array_agg(mcp._ts_string(e.enumlabel) order by e.enumsortorder) as labels
          from pg_namespace n
          join pg_type t on t.typnamespace = n.oid
          join pg_enum e on e.enumtypid = t.oid
         where n.nspname = any (schemas)
         group by n.nspname, t.typname
    ), attributes as (
        select n.nspname, c.relname,
               string_agg(mcp._ts_field(8, mcp._ts_key(a.attname), coalesce(y.members, '{unknown}'), coalesce(y.depth, 0), true),
                          E'\n' order by a.attnum) as lines
          from pg_namespace n
          join pg_class c on c.relnamespace = n.oid and c.relkind = 'c'
          join pg_attribute a on a.attrelid = c.oid and not a.attisdropped
          left join mcp._ts_types(schemas) y on y.type = a.atttypid
         where n.nspname = any (schemas)
         group by n.nspname, c.relname
    ), named as (
        select f.schema, f.name, min(f.place) as place,
               jsonb_agg(jsonb_build_object('function', f.function::bigint, 'ins', f.ins, 'result', f.result, 'suffix', f.suffix, 'options', f.options,
                                            'fault', case when f.unfit then
                                                'the function ' || f.schema || '.' || f.name || ' with parameter or with a single unnamed '
                                                'json/jsonb parameter, but no matches were found in the schema cache' end)
                         order by f.same collate "C", f.place) as overloads
          from functions f
         group by f.schema, f.name
    )
    select r.schema, r.kind, mcp._ts_order(r.name),
           mcp._ts_block(6, mcp._ts_key(r.name), concat_ws(E'\n',
               mcp._ts_block(8, 'Row', concat_ws(E'\n', c.selected, f.fields)),
               case when r.insertable then mcp._ts_block(8, 'Insert', coalesce(c.inserted, '')) end,
               case when r.updatable then mcp._ts_block(8, 'Update', coalesce(c.updated, '')) end,
               case when k.items is null then '        Relationships: []' else format(E'        Relationships: [\n%s\n        ]', k.items) end))
      from relations r
      left join columns c on c.relation = r.relation
      left join computed f on f.relation = r.relation
      left join keys k on k.relation = r.relation
    union all
    -- A name that is a number comes first: so objects of JavaScript keep their keys.
    select n.schema, 'Functions', case when n.name ~ '^(0|[1-9][0-9]{0,8})$' then to_char(n.name::text::bigint, 'FM000000000')
                                       else ':' || to_char(n.place, 'FM000000000') end,
           mcp._ts_overloads(n.name, n.overloads)
      from named n
    union all
    select e.nspname, 'Enums', mcp._ts_order(e.typname), mcp._ts_field(6, mcp._ts_key(e.typname), e.labels, 0, false) from enums e
    union all
    select e.nspname, 'Constants', mcp._ts_order(e.typname), mcp._ts_list(6, mcp._ts_key(e.typname), e.labels, ',') from enums e
    union all
    select a.nspname, 'CompositeTypes', mcp._ts_order(a.relname), mcp._ts_block(6, mcp._ts_key(a.relname), a.lines) from attributes a
$$;
comment on function mcp._ts_entries(text[]) is '@support The entries of Tables, Views, Functions, Enums, CompositeTypes and Constants';

create function mcp.generate_typescript_types(schemas text[] default null) returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    exposed constant text[] := array(select btrim(s) from unnest(string_to_array(current_setting('pgrst.db_schemas', true), ',')) s
                                      where btrim(s) <> '');
    max_bytes constant bigint := mcp._byte_budget() * 4 / 3;
    wanted text[] := coalesce(schemas, nullif(exposed, '{}'), '{public}');
    included text[];
    unknown text;
    objects text;
    constants text;
    types text;
    bytes bigint;
begin
    included := array(select n.nspname from pg_namespace n
                       where n.nspname = any (wanted) and n.nspname !~ '^pg_' and has_schema_privilege(n.oid, 'USAGE')
                       order by mcp._ts_order(n.nspname) collate "C");
    -- A misspelt schema must not look like an empty one. Of those that PostgREST exposes a caller may well miss some.
    unknown := (select min(u.name) from unnest(wanted) u (name) where not u.name = any (included));
    if cardinality(included) = 0 or schemas is not null and unknown is not null then
        raise exception 'there is no schema "%" that you may use', coalesce(unknown, '')
            using errcode = 'invalid_schema_name', hint = 'list_schemas shows the schemas that you may use; give their names in "schemas".';
    end if;

    -- What cannot fit is not begun: a column takes a line at least, and one of a table three.
    select sum(case when c.relkind in ('v', 'm') then 19 else 57 end) into bytes
      from (select c.oid, c.relkind from pg_class c join pg_namespace n on n.oid = c.relnamespace
             where n.nspname = any (included) and c.relkind in ('r', 'p', 'f', 'v', 'm') and has_table_privilege(c.oid, 'SELECT')) c
      join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped;
    if bytes is null or bytes <= max_bytes then
        with items as materialized (
            select t.schema, t.kind, string_agg(t.item, E'\n' order by t.place collate "C") as lines
              from mcp._ts_entries(included) t
             group by t.schema, t.kind
        )
        select string_agg(mcp._ts_block(2, mcp._ts_key(s.name), (
                   select string_agg(mcp._ts_block(4, k.kind, coalesce(i.lines, ''), '      [_ in never]: never'), E'\n' order by k.place)
                     from unnest(array['Tables', 'Views', 'Functions', 'Enums', 'CompositeTypes']) with ordinality as k (kind, place)
                     left join items i on i.schema = s.name and i.kind = k.kind)), E'\n' order by s.place),
               string_agg(mcp._ts_block(2, mcp._ts_key(s.name), mcp._ts_block(4, 'Enums', (
                   select i.lines from items i where i.schema = s.name and i.kind = 'Constants')) || ',') || ',', E'\n' order by s.place)
          into objects, constants
          from unnest(included) with ordinality as s (name, place);
        types := format(mcp._ts_frame(), objects, constants);
        bytes := octet_length(to_json(types)::text) + 100;
    end if;
    if bytes > max_bytes then
        raise exception 'the types of % are larger than one answer may be', array_to_string(included, ', ')
            using errcode = 'program_limit_exceeded',
                  hint = 'Pass fewer schemas, one at a time if need be; an administrator can raise supabase_mcp.max_bytes.';
    end if;
    return jsonb_build_object('types', types);
end
$$;
comment on function mcp.generate_typescript_types(text[]) is
'@mcp({"kind": "tool", "features": ["development"], "title": "TypeScript types",
      "args": {"schemas": "The API''s if left out"},
      "output": {"types": "string"}})
Types for supabase-js of what you may use.';
