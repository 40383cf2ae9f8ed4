-- Owns: the tool list_progress.
-- Runs: as the caller, who sees the commands of other roles with pg_read_all_stats alone.
-- Must not: name the columns of the views: they differ by version, and a new version brings new views.

create function mcp._share_done(r jsonb) returns numeric
language sql immutable strict
set search_path = pg_catalog, pg_temp
as $$
    -- The first pair that has a total: the later phases of an index count tuples, or lockers that they wait for.
    select round(100 * least(p.done, p.total) / p.total, 1)
      from (values (1, (r ->> 'heap_blks_scanned')::numeric, (r ->> 'heap_blks_total')::numeric),
                   (2, (r ->> 'sample_blks_scanned')::numeric, (r ->> 'sample_blks_total')::numeric),
                   (3, (r ->> 'blocks_done')::numeric, (r ->> 'blocks_total')::numeric),
                   (4, (r ->> 'tuples_done')::numeric, (r ->> 'tuples_total')::numeric),
                   (5, (r ->> 'bytes_processed')::numeric, (r ->> 'bytes_total')::numeric),
                   (6, (r ->> 'backup_streamed')::numeric, (r ->> 'backup_total')::numeric)) as p (place, done, total)
     where p.total > 0
     order by p.place
     limit 1
$$;
comment on function mcp._share_done(jsonb) is '@support How much of a running command''s phase is done, in percent; null if it does not say';

create function mcp.list_progress() returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    see_all constant boolean := mcp._sees_all_statistics();
    items jsonb[] := '{}';
    hidden bigint := 0;
    view_name name;
    found jsonb[];
    unseen bigint;
begin
    for view_name in
        select c.relname from pg_class c
         where c.relnamespace = 'pg_catalog'::regnamespace and c.relkind = 'v' and starts_with(c.relname, 'pg_stat_progress_')
         order by c.relname
    loop
        execute format($query$
            select array_agg(mcp._session(to_jsonb(a)) - array['state', 'application', 'client']
                   || jsonb_build_object('command', coalesce(p.r ->> 'command', upper(replace(%L, '_', ' '))))
                   || jsonb_strip_nulls(jsonb_build_object(
                          'table', case when (p.r ->> 'relid')::oid > 0 and p.r ->> 'datname' = current_database()
                                        then coalesce(mcp._table_name((p.r ->> 'relid')::oid), p.r ->> 'relid') end,
                          'index', case when (p.r ->> 'index_relid')::oid > 0 and p.r ->> 'datname' = current_database()
                                        then mcp._table_name((p.r ->> 'index_relid')::oid) end,
                          'phase', p.r -> 'phase',
                          'percent_of_phase', mcp._share_done(p.r),
                          -- Counters that stand at zero say nothing.
                          'counters', (select jsonb_object_agg(e.key, e.value)
                                         from jsonb_each(p.r - array['pid', 'datid', 'datname', 'relid', 'index_relid', 'command', 'phase']) e
                                        where e.value not in ('0', 'null', '""'))))
                   order by a.xact_start, a.pid) filter (where $1 or pg_has_role(a.usesysid, 'USAGE')),
                   count(*) filter (where not ($1 or coalesce(pg_has_role(a.usesysid, 'USAGE'), false)))
              from (select to_jsonb(v) as r from pg_catalog.%I v limit 200) p
              join pg_stat_activity a on a.pid = (p.r ->> 'pid')::integer
            $query$, replace(view_name, 'pg_stat_progress_', ''), view_name)
           into found, unseen
          using see_all;
        items := items || found;
        hidden := hidden + unseen;
    end loop;
    return mcp._listed('commands', items, 200)
           || case when hidden > 0
                   then jsonb_build_object('not_visible', mcp._needs(format('%s commands of other roles', hidden), 'pg_read_all_stats'))
                   else '{}' end;
end
$$;
comment on function mcp.list_progress() is
'@mcp({"kind": "tool", "features": ["operations"], "title": "List progress",
      "output": {"commands": "array", "truncated?": "boolean", "not_visible?": "string"}})
Shows how far running VACUUM, ANALYZE, CREATE INDEX, CLUSTER, COPY and base backups are: phase, percent of it, counters.';
