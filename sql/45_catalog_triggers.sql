-- Owns: the tools list_triggers and list_types.
-- Runs: as the caller, on tables on which the caller has a privilege and types that the caller may use.
-- Must not: list what PostgreSQL made by itself: triggers of foreign keys, array types, the row types of tables.

create function mcp._catalog_trigger(trigger oid) returns jsonb
language sql stable strict
set search_path = pg_catalog, pg_temp
as $$
    -- The bits of pg_trigger.tgtype: row 1, before 2, insert 4, delete 8, update 16, truncate 32, instead 64.
    select jsonb_strip_nulls(jsonb_build_object(
               'table', mcp._table_name(t.tgrelid),
               'name', t.tgname,
               'timing', case when t.tgtype & 2 <> 0 then 'BEFORE' when t.tgtype & 64 <> 0 then 'INSTEAD OF' else 'AFTER' end,
               'events', array_remove(array[case when t.tgtype & 4 <> 0 then 'INSERT' end, case when t.tgtype & 16 <> 0 then 'UPDATE' end,
                                            case when t.tgtype & 8 <> 0 then 'DELETE' end, case when t.tgtype & 32 <> 0 then 'TRUNCATE' end], null),
               'level', case when t.tgtype & 1 <> 0 then 'ROW' else 'STATEMENT' end,
               'columns', case when t.tgattr <> '' then mcp._key_columns(t.tgrelid, t.tgattr::smallint[]) end,
               'when', mcp._catalog_cut((regexp_match(pg_get_triggerdef(t.oid, true), ' WHEN \((.*)\) EXECUTE '))[1], mcp._catalog_longest(500)),
               'function', (select format('%I.%I', n.nspname, p.proname) from pg_proc p join pg_namespace n on n.oid = p.pronamespace where p.oid = t.tgfoid),
               'arguments', case when t.tgnargs > 0
                                 then mcp._catalog_cut((regexp_match(pg_get_triggerdef(t.oid, true), '\(([^()]*)\)$'))[1], mcp._catalog_longest(200)) end,
               'constraint', case when t.tgconstraint <> 0 then true end,
               'enabled', case t.tgenabled when 'D' then 'no' when 'R' then 'on replicas only' when 'A' then 'always' else 'yes' end,
               'comment', mcp._catalog_cut(obj_description(t.oid, 'pg_trigger'), mcp._catalog_longest(500))))
      from pg_trigger t
     where t.oid = trigger
$$;
comment on function mcp._catalog_trigger(oid) is '@support A trigger as JSON: table, timing, events, level, condition, function, whether it is on';

create function mcp.list_triggers(schemas text[] default null, "table" text default null, max_triggers integer default null, after text default null) returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    page_size constant integer := mcp._page_size(max_triggers);
    budget constant bigint := mcp._byte_budget();
    last_seen constant text[] := mcp._catalog_after(after, 3);
    spaces constant oid[] := mcp._catalog_schemas(schemas);
    wanted constant oid := case when "table" is not null then mcp._find_table("table", null) end;
    items text[];
    marks text[];
    of_events jsonb;
begin
    select array_agg(mcp._catalog_trigger(t.oid)::text order by t.nspname, t.relname, t.tgname),
           array_agg(format('%I.%I.%I', t.nspname, t.relname, t.tgname) order by t.nspname, t.relname, t.tgname)
      into items, marks
      from (select g.oid, n.nspname, c.relname, g.tgname
              from pg_trigger g
              join pg_class c on c.oid = g.tgrelid
              join pg_namespace n on n.oid = c.relnamespace
             where not g.tgisinternal
               and (wanted is null or c.oid = wanted)
               and (wanted is not null and schemas is null or c.relnamespace = any (spaces))
               and (last_seen is null or (n.nspname, c.relname, g.tgname) > (last_seen[1]::name, last_seen[2]::name, last_seen[3]::name))
               and mcp._usable_table(c.oid)
             order by n.nspname, c.relname, g.tgname
             limit page_size + 1) t;
    if schemas is null and "table" is null and after is null then
        select nullif(mcp._catalog_page('event_triggers', array_agg(jsonb_build_object(
                   'name', e.evtname, 'event', e.evtevent, 'enabled', e.evtenabled <> 'D', 'function', format('%I.%I', n.nspname, p.proname))::text order by e.evtname),
                   array_agg(''::text order by e.evtname), 20, budget / 8) - 'next' - 'truncated', '{"event_triggers": []}')
          into of_events
          from pg_event_trigger e join pg_proc p on p.oid = e.evtfoid join pg_namespace n on n.oid = p.pronamespace;
    end if;
    return mcp._catalog_page('triggers', items, marks, page_size, budget * 3 / 4) || coalesce(of_events, '{}') || mcp._catalog_unknown(schemas);
end
$$;
comment on function mcp.list_triggers(text[], text, integer, text) is
'@mcp({"kind": "tool", "features": ["catalog"], "title": "List triggers",
      "args": {"schemas": "All that you may use if left out", "table": "Only this table", "max_triggers": "500 if left out",
               "after": "next of the last answer"},
      "output": {"triggers": "array", "event_triggers?": "array", "truncated?": "boolean", "next?": "string", "unknown_schemas?": "array"}})
Lists triggers: what runs by itself when rows change. Without arguments also event triggers.';

create function mcp.list_types(schemas text[] default null, max_types integer default null, after text default null) returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    page_size constant integer := mcp._page_size(max_types);
    last_seen constant text[] := mcp._catalog_after(after, 2);
    spaces constant oid[] := mcp._catalog_schemas(schemas);
    items text[];
    marks text[];
begin
    select array_agg((jsonb_build_object('name', format('%I.%I', t.nspname, t.typname), 'kind', t.kind)
                      || jsonb_strip_nulls(mcp._catalog_type_detail(t.oid)))::text order by t.nspname, t.typname),
           array_agg(format('%I.%I', t.nspname, t.typname) order by t.nspname, t.typname)
      into items, marks
      from (select y.oid, n.nspname, y.typname,
                   case y.typtype when 'e' then 'enum' when 'd' then 'domain' when 'c' then 'composite' when 'r' then 'range' else 'base' end as kind
              from pg_type y
              join pg_namespace n on n.oid = y.typnamespace
              left join pg_class c on c.oid = y.typrelid
             where y.typnamespace = any (spaces)
               and y.typtype in ('e', 'd', 'c', 'r', 'b')
               and (y.typtype <> 'c' or c.relkind = 'c')
               and (y.typtype <> 'b' or y.typelem = 0 or y.typsubscript <> 'array_subscript_handler'::regproc)
               and (last_seen is null or (n.nspname, y.typname) > (last_seen[1]::name, last_seen[2]::name))
               and has_type_privilege(y.oid, 'USAGE')
             order by n.nspname, y.typname
             limit page_size + 1) t;
    return mcp._catalog_page('types', items, marks, page_size) || mcp._catalog_unknown(schemas);
end
$$;
comment on function mcp.list_types(text[], integer, text) is
'@mcp({"kind": "tool", "features": ["catalog"], "title": "List types",
      "args": {"schemas": "All that you may use if left out", "max_types": "500 if left out", "after": "next of the last answer"},
      "output": {"types": "array", "truncated?": "boolean", "next?": "string", "unknown_schemas?": "array"}})
Lists enums with labels, domains with checks, composite types and ranges. Use it for the values that a column takes.';
