-- Owns: what generate_typescript_types knows of tables, columns and types.
-- Runs: as the caller; from the catalogs. A view is opened, to see what of it is updatable.
-- Must not: show a table, a column or a schema that the caller may not use.

create function mcp._ts_relations(schemas text[])
returns table (relation oid, schema name, name name, kind text, row_type oid, insertable boolean, updatable boolean)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    -- Materialized views are not written to, foreign tables not asked whether they can be.
    select c.oid, n.nspname, c.relname, case when c.relkind in ('v', 'm') then 'Views' else 'Tables' end, c.reltype,
           c.relkind in ('r', 'p', 'f') or c.relkind = 'v' and pg_relation_is_updatable(c.oid, true) & 8 = 8,
           c.relkind in ('r', 'p', 'f') or c.relkind = 'v' and pg_relation_is_updatable(c.oid, true) & 4 = 4
      from pg_namespace n
      join pg_class c on c.relnamespace = n.oid
     where n.nspname = any (schemas)
       and has_schema_privilege(n.oid, 'USAGE')
       and c.relkind in ('r', 'p', 'f', 'v', 'm')
       and mcp._usable_table(c.oid)
$$;
comment on function mcp._ts_relations(text[]) is '@support The tables and views of some schemas that the current user may use';

create function mcp._ts_types(schemas text[]) returns table (type oid, members text[], depth integer, flat text, relation oid)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    -- A type is known by its name, as PostgREST's clients know it: underscores are arrays, a domain of a domain is unknown.
    with named as materialized (
        -- What a name can stand for, in the order of preference.
        select t.typname as name, n.nspname as schema, 1 as rank, 1 as kind,
               case when n.nspname = any (schemas)
                    then array[format('Database[%s]["Enums"][%s]', mcp._ts_string(n.nspname), mcp._ts_string(t.typname))]
                    else (select array_agg(mcp._ts_string(e.enumlabel) order by e.enumsortorder) from pg_enum e where e.enumtypid = t.oid) end
                   as members
          from pg_type t
          join pg_namespace n on n.oid = t.typnamespace
         where t.typtype = 'e'
           and exists (select from pg_enum e where e.enumtypid = t.oid)
        union all
        select t.typname, n.nspname, 2, 1,
               array[case when n.nspname = any (schemas)
                          then format('Database[%s]["CompositeTypes"][%s]', mcp._ts_string(n.nspname), mcp._ts_string(t.typname))
                          else 'unknown' end]
          from pg_class c
          join pg_type t on t.oid = c.reltype
          join pg_namespace n on n.oid = t.typnamespace
         where c.relkind = 'c'
           and exists (select from pg_attribute a where a.attrelid = c.oid and not a.attisdropped)
        union all
        select r.name, r.schema, 3, case c.relkind when 'f' then 2 when 'v' then 3 when 'm' then 4 else 1 end,
               array[format('Database[%s][%s][%s]["Row"]', mcp._ts_string(r.schema), mcp._ts_string(r.kind), mcp._ts_string(r.name))]
          from mcp._ts_relations(schemas) r
          join pg_class c on c.oid = r.relation
    ), known as (
        select t.oid, t.typrelid, n.nspname as schema, length(t.typname) - length(ltrim(t.typname, '_')) as depth,
               ltrim(t.typname, '_')::name as name
          from pg_type t
          join pg_namespace n on n.oid = t.typnamespace
    ), resolved as (
        select distinct on (k.oid) k.oid,
               case
                   when k.name = 'bool' then '{boolean}'
                   when k.name in ('int2', 'int4', 'int8', 'float4', 'float8', 'numeric') then '{number}'
                   when k.name in ('bytea', 'bpchar', 'varchar', 'date', 'text', 'citext', 'time', 'timetz', 'timestamp', 'timestamptz',
                                   'uuid', 'vector', 'interval') then '{string}'
                   when k.name in ('json', 'jsonb') then '{Json}'
                   when k.name = 'void' then '{undefined}'
                   when k.name = 'record' then '{"Record<string, unknown>"}'
                   else coalesce(d.members, '{unknown}')
               end::text[] as members, k.depth, nullif(k.typrelid, 0) as relation
          from known k
          left join named d on d.name = k.name
         order by k.oid, d.rank, d.schema <> k.schema, d.kind, mcp._ts_order(d.schema), mcp._ts_order(d.name)
    )
    select r.oid, r.members, r.depth,
           case when cardinality(r.members) = 1 then r.members[1] || repeat('[]', r.depth) else mcp._ts_flat(r.members, r.depth, false) end,
           r.relation
      from resolved r
$$;
comment on function mcp._ts_types(text[]) is '@support What the types of this database are in TypeScript';

create function mcp._ts_columns(schemas text[])
returns table (relation oid, key text, place text, members text[], depth integer, flat text, nullable boolean, optional boolean, fixed boolean)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    with types as materialized (
        select * from mcp._ts_types(schemas)
    ), relations as materialized (
        select r.relation, c.relkind, has_table_privilege(r.relation, 'SELECT, INSERT, UPDATE, REFERENCES') as every_column,
               -- Triggers and rules that stand in for the write take whole rows.
               exists (select from pg_trigger g where g.tgrelid = r.relation and not g.tgisinternal and g.tgtype & 64 <> 0 and g.tgtype & 20 <> 0)
               or exists (select from pg_rewrite w where w.ev_class = r.relation and w.is_instead and w.ev_type in ('2', '3')
                                                     and w.ev_qual::text = '<>') as instead
          from mcp._ts_relations(schemas) r
          join pg_class c on c.oid = r.relation
    )
    select r.relation, case when a.attname ~ '^[a-z_][a-z0-9_]*$' then a.attname::text else mcp._ts_key(a.attname) end, mcp._ts_order(a.attname),
           case when y.flat = 'Json' and v.filled then '{NonNullable<Json>}' else y.members end, y.depth,
           case when y.flat = 'Json' and v.filled then 'NonNullable<Json>' else y.flat end,
           not v.filled, a.attidentity <> '' or a.atthasdef,
           case when r.relkind in ('r', 'p', 'f') then a.attidentity = 'a' or a.attgenerated <> ''
                when r.relkind = 'v' then not (r.instead or pg_column_is_updatable(r.relation, a.attnum, false))
                else true end
      from relations r
      join pg_attribute a on a.attrelid = r.relation and a.attnum > 0 and not a.attisdropped
      join pg_type t on t.oid = a.atttypid
     cross join lateral (select a.attnotnull or t.typtype = 'd' and t.typnotnull as filled) v
      join types y on y.type = case when t.typtype = 'd' then t.typbasetype else t.oid end
     where r.every_column or has_column_privilege(r.relation, a.attnum, 'SELECT, INSERT, UPDATE, REFERENCES')
$$;
comment on function mcp._ts_columns(text[]) is
    '@support The columns of the tables and views of some schemas on which the current user has a privilege, with their types in TypeScript';
