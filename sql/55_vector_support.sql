-- Owns: what the tools of vector search share: the extension's types and operators, and how rows, keys and filters become SQL.
-- Runs: as the caller; names come from the catalog and are quoted, values travel in parameters.
-- Must not: take an operator or a type from anywhere but the extension itself.

create function mcp._vector_schema() returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    schema constant text := mcp._extension_schema('vector');
begin
    if schema is null then
        raise exception 'vector search needs the extension vector (pgvector), which is not installed in this database'
            using errcode = 'feature_not_supported',
                  hint = case when exists (select from pg_available_extensions() a where a.name = 'vector')
                              then 'An administrator installs it: create extension vector.'
                              else format('An administrator puts it on the server (package postgresql-%s-pgvector of PGDG) and runs: create extension vector.',
                                          current_setting('server_version_num')::integer / 10000) end;
    elsif not has_schema_privilege(schema::regnamespace::oid, 'USAGE') then
        raise exception 'you may not use schema %, which holds the extension vector', schema
            using errcode = 'insufficient_privilege', hint = format('An administrator grants it: grant usage on schema %s to %I.', schema, current_user);
    end if;
    return schema;
end
$$;
comment on function mcp._vector_schema() is '@support The schema of the extension vector, quoted for SQL; raises, saying what is missing, if it cannot be used';

create function mcp._is_vector_type(type oid) returns boolean
language sql stable strict
set search_path = pg_catalog, pg_temp
as $$
    select exists (select from pg_depend d join pg_extension e on e.oid = d.refobjid and e.extname = 'vector'
                    where d.classid = 'pg_type'::regclass and d.objid = type and d.refclassid = 'pg_extension'::regclass and d.deptype = 'e')
$$;
comment on function mcp._is_vector_type(oid) is '@support Whether a type is one of the extension vector';

create function mcp._column(relation oid, wanted text, what text, candidates text[]) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    near text[];
begin
    if wanted is null and cardinality(candidates) = 1 then
        return candidates[1];
    elsif wanted = any (candidates) then
        return wanted;
    end if;
    near := mcp._near(left(wanted, 100), candidates);
    raise exception '%', case when cardinality(candidates) = 0 then format('table %s has no %s that you may read', mcp._table_name(relation), what)
                              when wanted is null then format('table %s has several columns that could be meant', mcp._table_name(relation))
                              else format('"%s" is no %s of table %s that you may read', left(wanted, 100), what, mcp._table_name(relation)) end
        using errcode = 'undefined_column',
              hint = case when cardinality(near) > 0 then format('Perhaps you meant "%s".', near[1])
                          when cardinality(candidates) = 0 then 'Call describe_table for its columns.'
                          else format('There are: %s.', array_to_string(candidates[1:20], ', ')) end;
end
$$;
comment on function mcp._column(oid, text, text, text[]) is
    '@support The column that a name stands for among the candidates, the only one if none is named; raises with a hint otherwise';

create function mcp._readable_columns(relation oid) returns table (name text, type oid, typmod integer, is_vector boolean)
language sql stable strict rows 10
set search_path = pg_catalog, pg_temp
as $$
    select a.attname::text, a.atttypid, a.atttypmod, mcp._is_vector_type(a.atttypid)
      from pg_attribute a
     where a.attrelid = relation and a.attnum > 0 and not a.attisdropped and has_column_privilege(relation, a.attnum, 'SELECT')
     order by a.attnum
$$;
comment on function mcp._readable_columns(oid) is '@support The columns of a table that the current user may read, in order';

create function mcp._vector_column(relation oid, wanted text) returns text
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select mcp._column(relation, wanted, 'vector column', array(
        -- Of bits it cannot be known whether they are one: they must be named.
        select c.name from mcp._readable_columns(relation) c
         where c.is_vector or c.type in ('bit'::regtype, 'varbit'::regtype) and c.name = wanted))
$$;
comment on function mcp._vector_column(oid, text) is '@support The column of vectors that is meant; the only one if none is named';

create function mcp._distance_operator(schema text, metric text, type oid) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    symbols constant jsonb := '{"cosine": "<=>", "l2": "<->", "inner_product": "<#>", "l1": "<+>", "hamming": "<~>", "jaccard": "<%>"}';
    having_it text[];
begin
    having_it := array(
        select s.key from jsonb_each_text(symbols) s
         where exists (select from pg_operator o
                         join pg_depend d on d.classid = 'pg_operator'::regclass and d.objid = o.oid and d.deptype = 'e'
                         join pg_extension e on e.oid = d.refobjid and e.extname = 'vector'
                        where o.oprname = s.value and o.oprleft = type and o.oprright = type)
         order by s.key);
    if metric = any (having_it) then
        return format('operator(%s.%s)', schema, symbols ->> metric);
    end if;
    raise exception 'there is no distance "%" for values of type %', left(metric, 100), format_type(type, null)
        using errcode = 'invalid_parameter_value', hint = case when having_it = '{}' then 'This version of the extension has none for the type.'
                          else format('metric is one of: %s.', array_to_string(having_it, ', ')) end;
end
$$;
comment on function mcp._distance_operator(text, text, oid) is '@support The operator of a distance for a type, with its schema';

create function mcp._equality(type oid) returns text
language sql stable strict
set search_path = pg_catalog, pg_temp
as $$
    -- That of the type's own order, wherever it was created (citext); what has none of its own compares as core has it.
    select coalesce((
        select format('operator(%I.%s)', n.nspname, o.oprname)
          from pg_opclass c
          join pg_amop m on m.amopfamily = c.opcfamily and m.amoplefttype = c.opcintype and m.amoprighttype = c.opcintype and m.amopstrategy = 3
          join pg_operator o on o.oid = m.amopopr
          join pg_namespace n on n.oid = o.oprnamespace
         where c.opcmethod = (select a.oid from pg_am a where a.amname = 'btree') and c.opcdefault and c.opcintype = type
         limit 1), 'operator(pg_catalog.=)')
$$;
comment on function mcp._equality(oid) is '@support The operator = of a type, with its schema';

create function mcp._equal_to(relation oid, wanted jsonb, parameter text, alias text) returns text
language plpgsql stable strict
set search_path = pg_catalog, pg_temp
as $$
declare
    readable constant text[] := array(select c.name from mcp._readable_columns(relation) c);
begin
    if jsonb_typeof(wanted) <> 'object' then
        raise exception 'a filter or a key is an object of columns and their values' using errcode = 'invalid_parameter_value', hint = 'For example {"id": 5}.';
    elsif wanted = '{}' then
        return 'true';
    end if;
    perform mcp._column(relation, k, 'column', readable) from jsonb_object_keys(wanted) k;
    -- Values are read as the columns' own types.
    return (
        select format('exists (select from jsonb_to_record(%s) as x(%s) where %s)', parameter,
                      string_agg(format('%I %s', c.name, format_type(c.type, c.typmod)), ', '),
                      string_agg(case when wanted -> c.name = 'null' then format('%s.%I is null', alias, c.name)
                                      else format('%s.%I %s x.%I', alias, c.name, mcp._equality(c.type), c.name) end, ' and '))
          from mcp._readable_columns(relation) c where wanted ? c.name);
end
$$;
comment on function mcp._equal_to(oid, jsonb, text, text) is '@support A condition that columns have the values of an object, which is given in a parameter';

create function mcp._row_columns(relation oid, alias text) returns text
language sql stable strict
set search_path = pg_catalog, pg_temp
as $$
    -- Vectors and text search vectors are for the database; a model would pay for thousands of numbers.
    select coalesce(string_agg(format('%s.%I', alias, c.name), ', '), 'null') from mcp._readable_columns(relation) c where not c.is_vector and c.type <> 'tsvector'::regtype
$$;
comment on function mcp._row_columns(oid, text) is '@support The columns of a found row that are shown: those the current user may read, but for vectors';

create function mcp._row_identity(relation oid, alias text) returns text
language sql stable strict
set search_path = pg_catalog, pg_temp
as $$
    -- System columns want SELECT on the whole table.
    select case when has_table_privilege(relation, 'SELECT') and c.relkind in ('r', 'p', 'm') then format('concat(%1$s.tableoid, %1$s.ctid)', alias) else 'null::text' end
      from pg_class c where c.oid = relation
$$;
comment on function mcp._row_identity(oid, text) is '@support Where a row is, as SQL of type text that is null if that cannot be known';

create function mcp._search_widely(rows integer) returns void
language plpgsql stable strict
set search_path = pg_catalog, pg_temp
as $$
begin
    -- An index of vectors gives a fixed number of rows, before filters and row level security take theirs. From 0.8 it goes on looking.
    perform set_config('hnsw.ef_search', least(greatest(rows, 40), 1000)::text, true);
    if (select string_to_array(substring(e.extversion from '^[0-9]+\.[0-9]+'), '.')::integer[] >= array[0, 8] from pg_extension e where e.extname = 'vector') then
        perform set_config('hnsw.iterative_scan', 'strict_order', true), set_config('ivfflat.iterative_scan', 'relaxed_order', true);
    end if;
end
$$;
comment on function mcp._search_widely(integer) is '@support Has indexes of vectors go on until enough rows are found, for the rest of the transaction';

create function mcp._example_vector(relation oid, vector_column text, key jsonb) returns text
language plpgsql stable strict
set search_path = pg_catalog, pg_temp
as $$
declare
    found text[];
begin
    if jsonb_typeof(key) <> 'object' or key = '{}' then
        raise exception 'an example is the key of a row, or a vector as an array of numbers' using errcode = 'invalid_parameter_value', hint = 'For example {"id": 5}.';
    end if;
    execute format('select array(select t.%I::text from %s t where %s limit 2)', vector_column, mcp._table_name(relation), mcp._equal_to(relation, key, '$1', 't'))
       into found using key;
    if cardinality(found) <> 1 or found[1] is null then
        raise exception '%', case when cardinality(found) = 0 then 'there is no such example row' when cardinality(found) > 1 then 'there are several such example rows'
                                  else format('the example row has no value in column "%s"', vector_column) end
            using errcode = case when cardinality(found) = 0 then 'no_data_found' else 'invalid_parameter_value' end,
                  hint = 'example is the key of one row that you may read, such as {"id": 5}.';
    end if;
    return found[1];
end
$$;
comment on function mcp._example_vector(oid, text, jsonb) is '@support The vector of the one row that has this key, as text';
