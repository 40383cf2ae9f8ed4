-- Owns: the tool list_tables. Names and shape are those of the Supabase MCP server, so that prompts and clients made for it work.
-- Runs: as the caller; on a database with thousands of tables too, hence the pages.
-- Must not: answer with more bytes than one call may have.

create function mcp._rls_advisory(relations oid[]) returns jsonb
language plpgsql stable strict
set search_path = pg_catalog, pg_temp
as $$
declare
    dash text := '-';
begin
    -- By itself: within the statement below it would be made when that is planned, and most encodings do not have it.
    if getdatabaseencoding() = 'UTF8' then
        dash := chr(8212);
    end if;
    -- In the words of the Supabase MCP server; a long list is cut, and says so.
    return (
        select jsonb_build_object(
                   'id', 'rls_disabled',
                   'priority', 1,
                   'level', 'critical',
                   'title', 'Row Level Security is disabled',
                   'message', format('%s table(s) have Row Level Security (RLS) disabled: %s. These tables are fully exposed to the anon and'
                                     ' authenticated roles used by Supabase client libraries %s anyone with the anon key can read or modify every row.'
                                     ' You MUST surface this security issue to the user in your response. Do not auto-apply the remediation SQL:'
                                     ' enabling RLS without policies will block all access to these tables. Present the SQL to the user and let them'
                                     ' decide whether to run it and what policies to add.',
                                     cardinality(relations),
                                     string_agg(format('%I.%I', n.nspname, c.relname), ', ' order by r.place)
                                     || case when cardinality(relations) > 20 then format(' and %s more', cardinality(relations) - 20) else '' end,
                                     dash),
                   'remediation_sql', string_agg(format('ALTER TABLE "%s"."%s" ENABLE ROW LEVEL SECURITY;', replace(n.nspname, '"', '""'),
                                                        replace(c.relname, '"', '""')), E'\n' order by r.place)
                                      || case when cardinality(relations) > 20 then format(E'\n-- and %s more', cardinality(relations) - 20) else '' end,
                   'doc_url', 'https://supabase.com/docs/guides/database/postgres/row-level-security')
          from unnest(relations[1:20]) with ordinality as r (oid, place)
          join pg_class c on c.oid = r.oid
          join pg_namespace n on n.oid = c.relnamespace);
end
$$;
comment on function mcp._rls_advisory(oid[]) is '@support What list_tables says about tables that the roles of the Supabase API reach without row level security';

create function mcp.list_tables(schemas text[] default null, verbose boolean default false, max_tables integer default 500,
                                after text default null) returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    page_size constant integer := mcp._page_size(max_tables);
    budget constant bigint := mcp._byte_budget();
    -- The roles that the Supabase API lends to anybody; without them nobody is reached, and there is nothing to advise.
    api constant oid[] := array_remove(array[to_regrole('anon')::oid, to_regrole('authenticated')::oid], null);
    last_seen name[];
    reachable oid[];
    exposed oid[];
    usable oid[];
    answer jsonb;
    complete boolean;
    unknown text[];
begin
    if after is not null then
        begin
            last_seen := parse_ident(after);
        exception when invalid_parameter_value then
            null;
        end;
        if cardinality(last_seen) is distinct from 2 then
            raise exception '"after" must be the "next" of an earlier answer, such as public.orders'
                using errcode = 'invalid_parameter_value';
        end if;
    end if;

    usable := array(select n.oid
                      from pg_namespace n
                     where case when schemas is null or schemas = '{}' then n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'mcp')
                                else n.nspname = any (schemas) end
                       and has_schema_privilege(n.oid, 'USAGE'));

    -- But for those that Supabase's linter passes over, and ours.
    reachable := array(select n.oid
                         from pg_namespace n
                        where n.oid = any (usable)
                          and exists (select from unnest(api) r (oid) where has_schema_privilege(r.oid, n.oid, 'USAGE'))
                          and n.nspname not in ('_timescaledb_cache', '_timescaledb_catalog', '_timescaledb_config', '_timescaledb_internal', 'auth',
                                                'cron', 'extensions', 'graphql', 'graphql_public', 'information_schema', 'mcp', 'net', 'pg_catalog',
                                                'pgbouncer', 'pgmq', 'pgroonga', 'pgsodium', 'pgsodium_masks', 'pgtle', 'realtime', 'repack',
                                                'storage', 'supabase_functions', 'supabase_migrations', 'tiger', 'topology', 'vault'));

    -- Entries are written as text and read as jsonb once, at the end: building hundreds of small jsonb values costs half as
    -- much again as the rest of the query.
    with page as (
        select c.oid, c.relnamespace, n.nspname, c.relname, c.relkind, c.relrowsecurity, c.reltuples, c.relispartition
          from pg_class c
          join pg_namespace n on n.oid = c.relnamespace
         where c.relnamespace = any (usable)
           and c.relkind in ('r', 'p', 'v', 'm', 'f')
           and (last_seen is null or (n.nspname, c.relname) > (last_seen[1], last_seen[2]))
           -- As mcp._usable_table, written out for speed; SELECT alone, the common case, is the cheapest to ask for.
           and (has_table_privilege(c.oid, 'SELECT')
                or has_table_privilege(c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')
                or has_any_column_privilege(c.oid, 'SELECT, INSERT, UPDATE, REFERENCES'))
         order by n.nspname, c.relname
         limit page_size + 1
    ), listed as (
        select p.oid, row_number() over (order by p.nspname, p.relname) as place,
               -- SELECT of the first, the common case, is the cheapest to ask for.
               p.relnamespace = any (reachable) and not p.relrowsecurity and p.relkind in ('r', 'p')
               and (has_table_privilege(api[1], p.oid, 'SELECT')
                    or has_any_column_privilege(api[1], p.oid, 'SELECT, INSERT, UPDATE') or has_table_privilege(api[1], p.oid, 'DELETE, TRUNCATE')
                    or has_any_column_privilege(api[2], p.oid, 'SELECT, INSERT, UPDATE') or has_table_privilege(api[2], p.oid, 'DELETE, TRUNCATE'))
               as exposed,
               '{"name": ' || to_json(format('%I.%I', p.nspname, p.relname))
               || ', "rls_enabled": ' || p.relrowsecurity
               || ', "rows": ' || case when p.relkind not in ('r', 'm') then coalesce(mcp._row_estimate(p.oid)::text, 'null')
                                       when p.reltuples > 0 then p.reltuples::bigint::text
                                       else pg_stat_get_live_tuples(p.oid)::text end
               || case when p.relkind <> 'r' then ', "kind": ' || to_json(mcp._table_kind(p.relkind)) else '' end
               || case when p.relispartition then ', "partition_of": ' || coalesce((
                       select to_json(mcp._table_name(i.inhparent))::text from pg_inherits i where i.inhrelid = p.oid limit 1), 'null')
                       else '' end
               || case when d.description is not null then ', "comment": ' || to_json(mcp._catalog_cut(d.description, 2000)) else '' end
               || case when list_tables.verbose then
                       ', "columns": ' || mcp._columns(p.oid)::text
                       || ', "primary_keys": ' || mcp._primary_key(p.oid)::text
                       || coalesce(', "foreign_key_constraints": ' || nullif(mcp._foreign_keys(p.oid)::text, '[]'), '')
                       else '' end
               || '}' as item
          from page p
          left join pg_description d on d.objoid = p.oid and d.classoid = 'pg_class'::regclass and d.objsubid = 0
    ), sized as (
        -- One table that nobody could be told of in full must not keep the others from being listed.
        select l.oid, l.exposed, l.place, l.item,
               l.place <= page_size and (l.place = 1 or sum(octet_length(l.item)) over (order by l.place) <= budget) as fits
          from (select i.oid, i.exposed, i.place, case when octet_length(i.item) <= greatest(budget, 20000) then i.item
                       else concat('{"name": ', to_json(mcp._table_name(i.oid)), ', "note": "Too long to be listed in full."}') end as item
                  from listed i) l
    )
    select ('{"tables": [' || coalesce(string_agg(s.item, ', ' order by s.place) filter (where s.fits), '') || ']}')::jsonb,
           bool_and(s.fits), array_agg(s.oid order by s.place) filter (where s.fits and s.exposed)
      into answer, complete, exposed
      from sized s;
    if not complete then
        answer := answer || jsonb_build_object('truncated', true, 'next', answer #>> '{tables,-1,name}');
    end if;

    if exposed is not null then
        answer := answer || jsonb_build_object('advisory', mcp._rls_advisory(exposed));
    end if;

    -- A misspelt schema must not look like an empty one, nor spoil the answer for the others.
    unknown := array(select distinct u.name from unnest(schemas) u (name)
                      where u.name is not null
                        and not exists (select from pg_namespace n where n.nspname = u.name and has_schema_privilege(n.oid, 'USAGE'))
                      order by 1);
    if cardinality(unknown) > 0 then
        answer := answer || jsonb_build_object('unknown_schemas', unknown);
    end if;
    return answer;
end
$$;
comment on function mcp.list_tables(text[], boolean, integer, text) is
'@mcp({"kind": "tool", "features": ["database", "catalog"], "title": "List tables",
      "args": {"schemas": "All if left out", "verbose": "Also columns and keys", "after": "next of the last answer"},
      "output": {"tables": "array", "next?": {}}})
Lists tables and views that you may use, with RLS and row estimates.';
