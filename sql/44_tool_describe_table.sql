-- Owns: the tool describe_table: everything a model needs to write SQL against one table.
-- Runs: as the caller. pg_total_relation_size and pg_get_viewdef wait for a table that is locked exclusively, others do not.
-- Must not: tell a table without privileges apart from one that does not exist.

create function mcp._find_table(name text, schema text) returns oid
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    parts text[];
    found oid[];
    near text[];
    wanted text;
begin
    -- The name as it stands comes first ("Order Items" needs no quotes here), then as SQL would read it: orders, "Order
    -- Items", public.orders.
    begin
        parts := parse_ident(name);
    exception when invalid_parameter_value then
        parts := null;
    end;
    for attempt in 1 .. 2 loop
        found := array(
            select c.oid
              from pg_class c
              join pg_namespace n on n.oid = c.relnamespace
             where c.relkind in ('r', 'p', 'v', 'm', 'f')
               and case
                       when attempt = 1 then c.relname = _find_table.name
                                             and case when schema is null then n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
                                                      else n.nspname = schema end
                       when cardinality(parts) = 1 then c.relname = parts[1]
                                             and case when schema is null then n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
                                                      else n.nspname = schema end
                       when cardinality(parts) = 2 then c.relname = parts[2] and n.nspname = parts[1]
                                             and (schema is null or n.nspname = schema)
                       else false
                   end
               and has_schema_privilege(n.oid, 'USAGE')
               and mcp._usable_table(c.oid)
             order by n.nspname);
        exit when cardinality(found) > 0;
    end loop;

    if cardinality(found) = 1 then
        return found[1];
    elsif cardinality(found) > 1 then
        raise exception 'there are % tables named "%"', cardinality(found), left(name, 100)
            using errcode = 'ambiguous_parameter',
                  hint = format('Say which with its schema: %s.',
                                (select string_agg(mcp._table_name(f), ', ' order by place) from unnest(found[1:5]) with ordinality u (f, place)));
    end if;

    -- Bare names are compared, so that a wrong schema is found out as well as a wrong letter. In a database of many thousand
    -- tables only those are looked at that begin alike and are about as long.
    wanted := left(coalesce(parts[cardinality(parts)], name, ''), 100);
    near := mcp._near(wanted, array(
        select distinct u.relname::text
          from (select c.oid, c.relname
                  from pg_class c
                  join pg_namespace n on n.oid = c.relnamespace
                 where c.relkind in ('r', 'p', 'v', 'm', 'f')
                   and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
                   and has_schema_privilege(n.oid, 'USAGE')
                 order by lower(left(c.relname, 2)) <> lower(left(wanted, 2)), abs(length(c.relname) - length(wanted)), c.relname
                 limit 500) u
         where mcp._usable_table(u.oid)));
    near := array(
        select format('%I.%I', n.nspname, c.relname)
          from unnest(near) with ordinality as u (name, place)
          join pg_class c on c.relname = u.name and c.relkind in ('r', 'p', 'v', 'm', 'f')
          join pg_namespace n on n.oid = c.relnamespace
         where n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
           and has_schema_privilege(n.oid, 'USAGE')
           and mcp._usable_table(c.oid)
         order by u.place, n.nspname
         limit 3);
    raise exception 'table "%" does not exist, or you have no privilege on it', left(concat_ws('.', schema, name), 200)
        using errcode = 'undefined_table',
              hint = case when cardinality(near) > 0 then format('Perhaps you meant %s.', array_to_string(near, ' or '))
                          else 'Call list_tables for the tables that you may use.' end;
end
$$;
comment on function mcp._find_table(text, text) is '@support The table that a name stands for among those the current user may use; raises if there is none, or several';

create function mcp._table_privileges(relation oid) returns jsonb
language sql stable strict
set search_path = pg_catalog, pg_temp
as $$
    with on_table as (
        select p.name, p.place, has_table_privilege(relation, p.name) as held
          from unnest(array['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) with ordinality as p (name, place)
    ), on_columns as (
        select a.attname, jsonb_agg(t.name order by t.place) as names
          from pg_attribute a
          join on_table t on not t.held and t.name in ('SELECT', 'INSERT', 'UPDATE', 'REFERENCES')
                         and has_column_privilege(relation, a.attnum, t.name)
         where a.attrelid = relation and a.attnum > 0 and not a.attisdropped
         group by a.attname
    )
    select jsonb_build_object('table', (select coalesce(jsonb_agg(t.name order by t.place) filter (where t.held), '[]') from on_table t))
           || coalesce((select jsonb_build_object('columns', jsonb_object_agg(c.attname, c.names)) from on_columns c having count(*) > 0), '{}')
$$;
comment on function mcp._table_privileges(oid) is '@support What the current user may do with a table, and with single columns beyond that';

create function mcp._policies(relation oid) returns jsonb
language sql stable strict
set search_path = pg_catalog, pg_temp
as $$
    select coalesce(jsonb_agg(
               jsonb_strip_nulls(jsonb_build_object(
                   'name', p.polname,
                   'command', case p.polcmd when 'r' then 'SELECT' when 'a' then 'INSERT' when 'w' then 'UPDATE' when 'd' then 'DELETE' else 'ALL' end,
                   'permissive', p.polpermissive,
                   'roles', (select jsonb_agg(case when r = 0 then 'public' else pg_get_userbyid(r)::text end order by place)
                               from unnest(p.polroles) with ordinality as u (r, place)),
                   'using', pg_get_expr(p.polqual, p.polrelid),
                   'check', pg_get_expr(p.polwithcheck, p.polrelid)))
               order by p.polname), '[]')
      from pg_policy p
     where p.polrelid = relation
$$;
comment on function mcp._policies(oid) is '@support Row level security policies of a table';

create function mcp.describe_table(name text, schema text default null, sample_rows integer default null) returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select jsonb_build_object(
               'name', mcp._table_name(c.oid),
               'kind', mcp._table_kind(c.relkind),
               'owner', pg_get_userbyid(c.relowner),
               'rls_enabled', c.relrowsecurity,
               'rls_forced', c.relforcerowsecurity,
               'rows', mcp._row_estimate(c.oid),
               'columns', mcp._columns(c.oid),
               'primary_keys', mcp._primary_key(c.oid),
               'foreign_key_constraints', mcp._foreign_keys(c.oid),
               'constraints', (select coalesce(jsonb_agg(jsonb_build_object('name', k.conname, 'definition', pg_get_constraintdef(k.oid, true))
                                                         order by k.conname), '[]')
                                 from pg_constraint k where k.conrelid = c.oid and k.contype in ('c', 'u', 'p', 'x')),
               'indexes', (select coalesce(jsonb_agg(
                                      jsonb_build_object('name', r.relname, 'definition', pg_get_indexdef(i.indexrelid), 'unique', i.indisunique,
                                                         'primary', i.indisprimary, 'valid', i.indisvalid)
                                      order by r.relname), '[]')
                             from pg_index i join pg_class r on r.oid = i.indexrelid where i.indrelid = c.oid),
               'policies', mcp._policies(c.oid),
               'triggers', (select coalesce(jsonb_agg(
                                       jsonb_build_object('name', t.tgname, 'definition', pg_get_triggerdef(t.oid), 'enabled', t.tgenabled <> 'D')
                                       order by t.tgname), '[]')
                              from pg_trigger t where t.tgrelid = c.oid and not t.tgisinternal),
               'privileges', mcp._table_privileges(c.oid))
           || jsonb_strip_nulls(jsonb_build_object(
               'comment', mcp._catalog_cut(obj_description(c.oid, 'pg_class'), 2000),
               'size_bytes', case when c.relkind in ('r', 'm') then pg_total_relation_size(c.oid) end,
               'definition', case when c.relkind in ('v', 'm') then pg_get_viewdef(c.oid) end,
               'partition_key', pg_get_partkeydef(c.oid),
               'partitions', case when c.relkind = 'p' then (select count(*) from pg_inherits h where h.inhparent = c.oid) end,
               'partition_of', case when c.relispartition then (select mcp._table_name(h.inhparent) from pg_inherits h where h.inhrelid = c.oid) end,
               'partition_bound', pg_get_expr(c.relpartbound, c.oid),
               'server', (select s.srvname from pg_foreign_table f join pg_foreign_server s on s.oid = f.ftserver where f.ftrelid = c.oid)))
           || case when sample_rows > 0 then mcp._sample_rows(c.oid, sample_rows) else '{}' end
      from pg_class c
     where c.oid = mcp._find_table(name, schema)
$$;
comment on function mcp.describe_table(text, text, integer) is
'@mcp({"kind": "tool", "features": ["database", "catalog"], "title": "Describe table", "output": {"columns": "array"}})
Describes a table or view: columns, keys, indexes, policies, triggers, privileges. Use it before writing SQL.';
