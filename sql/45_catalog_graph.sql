-- Owns: the tool foreign_key_graph: how tables hang together, as JSON or as a Mermaid diagram.
-- Runs: as the caller, on foreign keys of tables on which the caller has a privilege.
-- Must not: let a name break out of the diagram's quotes.

create function mcp._catalog_mermaid(name text) returns text
language plpgsql immutable strict
set search_path = pg_catalog, pg_temp
as $$
declare
    escaped text := replace(name, '#', '#35;');
    sign text;
begin
    -- Mermaid has no escapes within quotes but the entities of HTML, written with # in place of &.
    foreach sign in array array['"', '\', '%', '<', '>', '`', E'\n', E'\r', E'\t', E'\v', E'\b', E'\f'] loop
        escaped := replace(escaped, sign, format('#%s;', ascii(sign)));
    end loop;
    return format('"%s"', escaped);
end
$$;
comment on function mcp._catalog_mermaid(text) is '@support A name in quotes for a Mermaid diagram';

create function mcp.foreign_key_graph(schemas text[] default null, "table" text default null, format text default null,
                                      max_keys integer default null, after text default null) returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    page_size constant integer := mcp._page_size(max_keys);
    last_seen constant text[] := mcp._catalog_after(after, 3);
    spaces constant oid[] := mcp._catalog_schemas(schemas);
    wanted constant oid := case when "table" is not null then mcp._find_table("table", null) end;
    diagram constant boolean := coalesce(format = 'mermaid', false);
    items text[];
    marks text[];
    answer jsonb;
begin
    if format not in ('json', 'mermaid') then
        raise exception 'there is no format "%"', left(format, 100) using errcode = 'invalid_parameter_value', hint = 'It is json or mermaid.';
    end if;
    select array_agg(k.item order by k.nspname, k.relname, k.conname), array_agg(k.mark order by k.nspname, k.relname, k.conname)
      into items, marks
      from (select p.nspname, p.relname, p.conname, pg_catalog.format('%I.%I.%I', p.nspname, p.relname, p.conname) as mark,
                   case when diagram then
                       -- One line: from the table that is pointed to, to the one that points.
                       to_jsonb(pg_catalog.format('    %s %s--%s %s : %s', mcp._catalog_mermaid(mcp._table_name(p.confrelid)),
                           case when exists (select from pg_attribute a where a.attrelid = p.conrelid and a.attnum = any (p.conkey) and not a.attnotnull) then '|o' else '||' end,
                           case when exists (select from pg_index i where i.indrelid = p.conrelid and i.indisunique and i.indpred is null and i.indexprs is null
                                                and (i.indkey::smallint[])[0:i.indnkeyatts - 1] <@ p.conkey) then 'o|' else 'o{' end,
                           mcp._catalog_mermaid(mcp._table_name(p.conrelid)),
                           mcp._catalog_mermaid((select string_agg(c, ', ' order by o) from jsonb_array_elements_text(mcp._key_columns(p.conrelid, p.conkey)) with ordinality e (c, o)))))::text
                   else
                       jsonb_strip_nulls(jsonb_build_object(
                           'name', p.conname,
                           'source_table', pg_catalog.format('%I.%I', p.nspname, p.relname),
                           'source_columns', mcp._key_columns(p.conrelid, p.conkey),
                           'target_table', mcp._table_name(p.confrelid),
                           'target_columns', mcp._key_columns(p.confrelid, p.confkey),
                           'on_delete', case p.confdeltype when 'r' then 'restrict' when 'c' then 'cascade' when 'n' then 'set null' when 'd' then 'set default' end,
                           'on_update', case p.confupdtype when 'r' then 'restrict' when 'c' then 'cascade' when 'n' then 'set null' when 'd' then 'set default' end,
                           'deferrable', case when p.condeferrable then true end,
                           'not_valid', case when not p.convalidated then true end))::text
                   end as item
              from (select n.nspname, c.relname, f.*
                      from pg_constraint f
                      join pg_class c on c.oid = f.conrelid
                      join pg_namespace n on n.oid = c.relnamespace
                     where f.contype = 'f'
                       and f.conparentid = 0
                       and (wanted is null or wanted in (f.conrelid, f.confrelid))
                       and (wanted is not null and schemas is null and has_schema_privilege(n.oid, 'USAGE') or c.relnamespace = any (spaces))
                       -- As mcp._catalog_tables, here of those with such keys alone.
                       and (has_table_privilege(c.oid, 'SELECT')
                            or has_table_privilege(c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')
                            or exists (select from pg_attribute a where a.attrelid = c.oid and a.attacl is not null)
                               and has_any_column_privilege(c.oid, 'SELECT, INSERT, UPDATE, REFERENCES'))
                       and (last_seen is null or (n.nspname, c.relname, f.conname) > (last_seen[1]::name, last_seen[2]::name, last_seen[3]::name))
                     order by n.nspname, c.relname, f.conname
                     limit page_size + 1) p) k;
    answer := mcp._catalog_page('foreign_keys', items, marks, page_size);
    if diagram then
        answer := answer - 'foreign_keys' || jsonb_build_object('mermaid',
            concat_ws(E'\n', 'erDiagram', (select string_agg(e.line, E'\n' order by e.place)
                                             from jsonb_array_elements_text(answer -> 'foreign_keys') with ordinality as e (line, place))));
    end if;
    return answer || mcp._catalog_unknown(schemas);
end
$$;
comment on function mcp.foreign_key_graph(text[], text, text, integer, text) is
'@mcp({"kind": "tool", "features": ["catalog"], "title": "Foreign keys",
      "args": {"schemas": "All that you may use if left out", "table": "Only keys from or to this table",
               "format": {"description": "json if left out; mermaid is a diagram", "schema": {"enum": ["json", "mermaid"]}},
               "max_keys": "500 if left out", "after": "next of the last answer"},
      "output": {"foreign_keys?": "array", "mermaid?": "string", "truncated?": "boolean", "next?": "string", "unknown_schemas?": "array"}})
Lists foreign keys: which columns refer to which. Use it to find out how to join tables, or for a diagram.';
