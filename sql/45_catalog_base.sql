-- Owns: what the catalog tools have in common: the schemas they look at, their pages, and texts cut to a size.
-- Runs: as the caller, within a catalog tool.
-- Must not: let an answer grow over the byte budget, or take a misspelt schema for an empty one.

create function mcp._catalog_longest(most bigint) returns bigint
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    -- An entry may hold a few such texts, and characters have up to four bytes.
    select least(most, greatest(mcp._byte_budget() / 8, 40))
$$;
comment on function mcp._catalog_longest(bigint) is '@support Characters that one text within an entry may have: as many as wanted, fewer where the byte budget is small';

create function mcp._catalog_schemas(schemas text[]) returns oid[]
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    -- The extension's own schema is like the system's: shown when asked for.
    select array(select n.oid
                   from pg_namespace n
                  where case when schemas is null then n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'mcp')
                             else n.nspname = any (schemas) end
                    and has_schema_privilege(n.oid, 'USAGE'))
$$;
comment on function mcp._catalog_schemas(text[]) is '@support The schemas of these names that the current user may use; without names all but the system''s';

create function mcp._catalog_unknown(schemas text[]) returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select coalesce((select jsonb_build_object('unknown_schemas', jsonb_agg(distinct mcp._catalog_cut(u.name, 63)))
                       from (select unnest(schemas[1:100]) as name) u
                      where u.name is not null
                        and not exists (select from pg_namespace n where n.nspname = u.name and has_schema_privilege(n.oid, 'USAGE'))
                     having count(*) > 0), '{}')
$$;
comment on function mcp._catalog_unknown(text[]) is '@support {"unknown_schemas": [...]} for those that do not exist or may not be used, else {}';

create function mcp._catalog_one_schema(schema text) returns oid[]
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    found constant oid[] := mcp._catalog_schemas(case when schema is not null then array[schema] end);
    near text[];
begin
    if schema is not null and found = '{}' then
        near := mcp._near(left(schema, 100), array(select n.nspname::text from pg_namespace n
                                                    where n.nspname !~ '^pg_' and has_schema_privilege(n.oid, 'USAGE') order by 1 limit 1000));
        raise exception 'schema "%" does not exist, or you may not use it', left(schema, 100)
            using errcode = 'invalid_schema_name',
                  hint = case when cardinality(near) > 0 then format('Perhaps you meant %s.', array_to_string(near, ' or '))
                              else 'Call list_schemas for the schemas that you may use.' end;
    end if;
    return found;
end
$$;
comment on function mcp._catalog_one_schema(text) is '@support As mcp._catalog_schemas for one name or none; raises if it cannot be used';

create function mcp._catalog_after(after text, parts integer) returns text[]
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    found text[];
begin
    if after is null then
        return null;
    end if;
    begin
        found := parse_ident(after);
    exception when invalid_parameter_value then
        null;
    end;
    if cardinality(found) is distinct from parts then
        raise exception '"after" must be the "next" of an earlier answer'
            using errcode = 'invalid_parameter_value', hint = 'Leave it out to begin at the beginning.';
    end if;
    return found;
end
$$;
comment on function mcp._catalog_after(text, integer) is '@support The names in the "next" of an earlier answer; raises if they are not so many';

create function mcp._catalog_page(key text, items text[], marks text[], page_size integer, budget bigint default null) returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    -- Items are entries as JSON text, one more than a page has if there are more; a mark is what "after" goes on from.
    with sized as (
        select u.item, u.mark, u.place,
               u.place <= page_size
               and (u.place = 1 or sum(octet_length(u.item) + 2) over (order by u.place) <= (select coalesce(budget, mcp._byte_budget()))) as fits
          from unnest(items, marks) with ordinality as u (item, mark, place)
    )
    select jsonb_build_object(key, ('[' || coalesce(string_agg(s.item, ',' order by s.place) filter (where s.fits), '') || ']')::jsonb)
           || case when bool_and(s.fits) is not false then '{}'
              else jsonb_build_object('truncated', true, 'next', (array_agg(s.mark order by s.place desc) filter (where s.fits))[1]) end
      from sized s
$$;
comment on function mcp._catalog_page(text, text[], text[], integer, bigint) is
    '@support One page of a list: the entries that fit its size and bytes, at least one, and where to go on';

create function mcp._catalog_some(names text[], bytes bigint) returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select jsonb_build_object('count', count(*), 'names', coalesce(jsonb_agg(s.name order by s.place) filter (where s.used <= bytes and s.place <= 100), '[]'))
      from (select u.name, u.place, sum(octet_length(u.name) + 4) over (order by u.place) as used
              from unnest(names) with ordinality as u (name, place)) s
$$;
comment on function mcp._catalog_some(text[], bigint) is '@support How many names there are, and as many of them as fit, at most 100';

create function mcp._catalog_tables(spaces oid[], single oid default null) returns setof oid
language plpgsql stable rows 1000
set search_path = pg_catalog, pg_temp
as $$
begin
    -- As mcp._usable_table, written out for speed. To be asked for each of its columns a table must have grants on some.
    return query
        select c.oid
          from pg_class c
         where c.relkind in ('r', 'p', 'v', 'm', 'f')
           and case when single is null then c.relnamespace = any (spaces) else c.oid = single end
           and (has_table_privilege(c.oid, 'SELECT')
                or has_table_privilege(c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')
                or exists (select from pg_attribute a where a.attrelid = c.oid and a.attacl is not null)
                   and has_any_column_privilege(c.oid, 'SELECT, INSERT, UPDATE, REFERENCES'));
end
$$;
comment on function mcp._catalog_tables(oid[], oid) is '@support The tables of these schemas, or the one table, on which the current user has a privilege';
