-- Owns: the tool list_tables, and what it shares with describe_table: the parts of a table as JSON.
-- Runs: as the caller. Names, estimates and definitions come from the catalogs; nothing but a view is opened
-- (to see which of its columns are updatable), so that a locked table holds nobody up.
-- Must not: show a table or a column on which the caller has no privilege at all.

create function mcp._usable_table(relation oid) returns boolean
language sql stable strict
set search_path = pg_catalog, pg_temp
as $$
    select has_table_privilege(relation, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')
        or has_any_column_privilege(relation, 'SELECT, INSERT, UPDATE, REFERENCES')
$$;
comment on function mcp._usable_table(oid) is '@support Whether the current user has any privilege on a table or on one of its columns';

create function mcp._row_estimate(relation oid) returns bigint
language sql stable strict
set search_path = pg_catalog, pg_temp
as $$
    -- The estimate of the last ANALYZE or VACUUM, else the counters. A partitioned table has only its partitions' rows.
    select case
               when c.relkind in ('v') then null
               when c.relkind = 'p' then (select coalesce(sum(mcp._row_estimate(t.relid)), 0)::bigint
                                            from pg_partition_tree(c.oid) t where t.isleaf and t.relid <> c.oid)
               when c.reltuples > 0 then c.reltuples::bigint
               else pg_stat_get_live_tuples(c.oid)
           end
      from pg_class c
     where c.oid = relation
$$;
comment on function mcp._row_estimate(oid) is '@support About how many rows a table has; null for a view';

create function mcp._columns(relation oid) returns jsonb
language sql stable strict
set search_path = pg_catalog, pg_temp
as $$
    -- data_type and format are said as Supabase's API says them: ARRAY, USER-DEFINED or the name in SQL, and the type's own name.
    -- What concerns the whole table is asked once and not per column.
    with whole as materialized (
        select c.oid, c.relkind,
               -- PostgreSQL takes the square of the columns for each expression that it writes; seconds in all for a thousand of them.
               c.relnatts > 400 as wide,
               has_table_privilege(c.oid, 'SELECT, INSERT, UPDATE, REFERENCES') as every_column,
               -- Constraints named UNIQUE alone, as there: a primary key says so elsewhere, and indexes are describe_table's.
               array(select k.conkey[1] from pg_constraint k
                      where k.conrelid = c.oid and k.contype = 'u' and cardinality(k.conkey) = 1) as unique_columns,
               array(select k.conkey[1] from pg_constraint k
                      where k.conrelid = c.oid and k.contype = 'c' and cardinality(k.conkey) = 1) as checked_columns,
               exists (select from pg_description d where d.objoid = c.oid and d.classoid = 'pg_class'::regclass and d.objsubid > 0) as commented
          from pg_class c
         where c.oid = relation
    )
    select coalesce(jsonb_agg(
               jsonb_build_object(
                   'name', a.attname,
                   'data_type', case
                                    when b.typcategory = 'A' and b.typelem <> 0 then 'ARRAY'
                                    when b.typnamespace = 'pg_catalog'::regnamespace then format_type(b.oid, null)
                                    else 'USER-DEFINED'
                                end,
                   'format', b.typname,
                   'options', to_jsonb(array_remove(array[
                       case when a.attidentity <> '' then 'identity' end,
                       case when a.attgenerated <> '' then 'generated' end,
                       case when not a.attnotnull and not (t.typtype = 'd' and t.typnotnull) then 'nullable' end,
                       -- A foreign table is not asked: that would run its wrapper's code, or fail if it has none.
                       case when w.relkind in ('r', 'p') or w.relkind = 'v' and pg_column_is_updatable(w.oid, a.attnum, false) then 'updatable' end,
                       case when a.attnum = any (w.unique_columns) then 'unique' end], null)))
               || case when a.atthasdef then jsonb_build_object('default_value',
                      (select case when a.attgenerated = '' then pg_get_expr(d.adbin, 0) when w.wide then '(not shown for a table of so many columns)'
                                   else pg_get_expr(d.adbin, d.adrelid) end
                         from pg_attrdef d where d.adrelid = a.attrelid and d.adnum = a.attnum)) else '{}' end
               || case a.attidentity when 'a' then '{"identity_generation": "ALWAYS"}'
                      when 'd' then '{"identity_generation": "BY DEFAULT"}'::jsonb else '{}' end
               || case when e.typtype = 'e' then jsonb_build_object('enums',
                      (select jsonb_agg(l.enumlabel order by l.enumsortorder)
                         from (select x.enumlabel, x.enumsortorder from pg_enum x where x.enumtypid = e.oid order by x.enumsortorder limit 200) l))
                      || case when (select count(*) > 200 from pg_enum x where x.enumtypid = e.oid) then '{"more_enums": true}' else '{}'::jsonb end else '{}' end
               || case when a.attnum = any (w.checked_columns) and not w.wide then jsonb_build_object('check',
                      -- One as it stands; of several each in its parentheses, for AND binds closer than what may be in them.
                      (select case when count(*) = 1 then min(c.text) else string_agg('(' || c.text || ')', ' AND ' order by c.conname) end
                         from (select k.conname, substring(pg_get_constraintdef(k.oid, true) from '^CHECK \((.*)\)[A-Z ]*$') as text
                                 from pg_constraint k
                                where k.conrelid = a.attrelid and k.contype = 'c' and k.conkey = array[a.attnum]) c)) else '{}' end
               || case when w.commented then jsonb_strip_nulls(jsonb_build_object('comment', mcp._catalog_cut(col_description(a.attrelid, a.attnum), 2000))) else '{}' end
               order by a.attnum), '[]')
      from whole w
      join pg_attribute a on a.attrelid = w.oid
      join pg_type t on t.oid = a.atttypid
      join pg_type b on b.oid = case when t.typtype = 'd' then t.typbasetype else t.oid end
      join pg_type e on e.oid = case when b.typcategory = 'A' and b.typelem <> 0 then b.typelem else b.oid end
     where a.attnum > 0
       and not a.attisdropped
       and (w.every_column or has_column_privilege(w.oid, a.attnum, 'SELECT, INSERT, UPDATE, REFERENCES'))
$$;
comment on function mcp._columns(oid) is '@support The columns of a table on which the current user has a privilege, in order';

create function mcp._key_columns(relation oid, key smallint[]) returns jsonb
language sql stable strict
set search_path = pg_catalog, pg_temp
as $$
    select jsonb_agg(a.attname order by k.place)
      from unnest(key) with ordinality as k (attnum, place)
      join pg_attribute a on a.attrelid = relation and a.attnum = k.attnum
$$;
comment on function mcp._key_columns(oid, smallint[]) is '@support Names of the columns of a key, in the key''s order';

create function mcp._table_name(relation oid) returns text
language sql stable strict
set search_path = pg_catalog, pg_temp
as $$
    select format('%I.%I', n.nspname, c.relname) from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = relation
$$;
comment on function mcp._table_name(oid) is '@support The name of a table with its schema, quoted where SQL wants quotes';

create function mcp._foreign_keys(relation oid) returns jsonb
language sql stable strict
set search_path = pg_catalog, pg_temp
as $$
    -- Those of this table and those that point to it, as Supabase's API does; not the copies that partitioning makes.
    select coalesce(jsonb_agg(
               jsonb_build_object(
                   'name', k.conname,
                   'source_table', mcp._table_name(k.conrelid),
                   'source_columns', mcp._key_columns(k.conrelid, k.conkey),
                   'target_table', mcp._table_name(k.confrelid),
                   'target_columns', mcp._key_columns(k.confrelid, k.confkey))
               order by k.conrelid <> relation, k.conname, mcp._table_name(k.conrelid)), '[]')
      from pg_constraint k
     where k.contype = 'f'
       and k.conparentid = 0
       and (k.conrelid = relation or k.confrelid = relation and mcp._usable_table(k.conrelid))
$$;
comment on function mcp._foreign_keys(oid) is '@support Foreign keys from and to a table, those from tables that the current user may use';

create function mcp._primary_key(relation oid) returns jsonb
language sql stable strict
set search_path = pg_catalog, pg_temp
as $$
    select coalesce(jsonb_agg(a.attname order by k.place), '[]')
      from pg_constraint c
     cross join unnest(c.conkey) with ordinality as k (attnum, place)
      join pg_attribute a on a.attrelid = c.conrelid and a.attnum = k.attnum
     where c.conrelid = relation and c.contype = 'p'
$$;
comment on function mcp._primary_key(oid) is '@support Columns of a table''s primary key';

create function mcp._table_kind(relkind "char") returns text
language sql immutable strict
set search_path = pg_catalog, pg_temp
as $$
    select case relkind
               when 'r' then 'table' when 'p' then 'partitioned table' when 'v' then 'view'
               when 'm' then 'materialized view' when 'f' then 'foreign table'
           end
$$;
comment on function mcp._table_kind("char") is '@support Kind of a table in words';
