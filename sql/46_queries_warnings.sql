-- Owns: what a plan shows to be wrong, in words.
-- Runs: as the caller, on a document of EXPLAIN (FORMAT JSON), with ANALYZE or without; reads nothing but the document.
-- Must not: fail because of a plan that it does not understand; it then has nothing to say.

create function mcp._count_in_words(n numeric) returns text
language sql immutable strict
set search_path = pg_catalog, pg_temp
as $$
    select btrim(to_char(round(n), 'FM999,999,999,999,999'))
$$;
comment on function mcp._count_in_words(numeric) is '@support A whole number with its thousands apart';

create function mcp._node_name(node jsonb) returns text
language sql immutable strict
set search_path = pg_catalog, pg_temp
as $$
    -- Names as EXPLAIN shows them, but quoted; with the schema if VERBOSE was asked for.
    select (node ->> 'Node Type')
           || coalesce(' on ' || coalesce(quote_ident(node ->> 'Schema') || '.', '') || quote_ident(coalesce(node ->> 'Relation Name', node ->> 'Function Name')), '')
           || case when node ->> 'Alias' <> coalesce(node ->> 'Relation Name', node ->> 'Function Name') then ' (' || quote_ident(node ->> 'Alias') || ')' else '' end
$$;
comment on function mcp._node_name(jsonb) is '@support A node of a plan in words: Seq Scan on shop.orders';

create function mcp._estimate_is_off(node jsonb, parent jsonb) returns boolean
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
    -- By ten times, and by enough rows to matter. Bitmaps and what only passes rows on have estimates of no use.
    select coalesce((node ->> 'Actual Loops')::numeric > 0
                    and node ->> 'Node Type' not in ('BitmapAnd', 'BitmapOr', 'Hash', 'Materialize', 'Memoize', 'Limit', 'ModifyTable')
                    and coalesce(parent ->> 'Node Type', '') not in ('Limit', 'Merge Join')
                    and greatest(r.actual, r.planned) >= 100
                    and greatest(r.actual, r.planned) >= 10 * greatest(least(r.actual, r.planned), 1), false)
      from (select (node ->> 'Actual Rows')::numeric as actual, (node ->> 'Plan Rows')::numeric as planned) r
$$;
comment on function mcp._estimate_is_off(jsonb, jsonb) is '@support Whether a node''s rows were estimated far from what came';

create function mcp._node_warnings(node jsonb, parent jsonb, deeper_is_off boolean) returns setof text
language sql immutable rows 2
set search_path = pg_catalog, pg_temp
as $$
    with n as materialized (
        select mcp._node_name(node) as name, node ->> 'Node Type' as type,
               (node ->> 'Actual Loops')::numeric as loops, (node ->> 'Actual Rows')::numeric as rows, (node ->> 'Plan Rows')::numeric as planned,
               (node ->> 'Total Cost')::numeric as cost, (node ->> 'Actual Total Time')::numeric as ms,
               coalesce((node ->> 'Rows Removed by Filter')::numeric, 0) as removed,
               coalesce((node ->> 'Rows Removed by Join Filter')::numeric, 0) as removed_by_join,
               coalesce((node ->> 'Rows Removed by Index Recheck')::numeric, 0) as rechecked,
               mcp._cut(coalesce(node ->> 'Filter', node ->> 'Join Filter'), 120) as filter,
               node ->> 'Parent Relationship' = 'Inner' and parent ->> 'Node Type' = 'Nested Loop' as inner_of_loop
    )
    -- A whole table read for a few of its rows.
    select format('%s: reads %s rows for the %s that match %s; an index that fits the condition would save this.', n.name,
                  mcp._count_in_words((n.rows + n.removed) * n.loops), mcp._count_in_words(n.rows * n.loops), n.filter)
      from n where n.type = 'Seq Scan' and n.loops > 0 and (n.rows + n.removed) * n.loops >= 10000 and n.removed > 9 * n.rows
    union all
    select format('%s: reads the whole table, at a cost of %s, for an estimated %s rows that match %s; an index that fits the condition may save this.',
                  n.name, mcp._count_in_words(n.cost), mcp._count_in_words(n.planned), n.filter)
      from n where n.type = 'Seq Scan' and n.loops is null and n.filter is not null and n.cost >= 1000
    union all
    -- Elsewhere a filter that throws most away.
    select format('%s: fetches %s rows and its filter %s leaves %s; an index with that condition would fetch only these.', n.name,
                  mcp._count_in_words((n.rows + n.removed) * n.loops), n.filter, mcp._count_in_words(n.rows * n.loops))
      from n where n.type <> 'Seq Scan' and n.loops > 0 and n.removed * n.loops >= 1000 and n.removed > 9 * n.rows
    union all
    select format('%s: compares %s pairs of rows to keep %s; a join on equal values, or an index on the inner side, would save this.', n.name,
                  mcp._count_in_words((n.rows + n.removed_by_join) * n.loops), mcp._count_in_words(n.rows * n.loops))
      from n where n.loops > 0 and n.removed_by_join * n.loops >= 10000 and n.removed_by_join > 9 * n.rows
    union all
    -- A child that was far off makes its parents so: only the deepest is named. Of functions another sentence speaks.
    select format('%s: %s rows were estimated and %s came, so the plan may be wrong; run ANALYZE on its tables, or CREATE STATISTICS if columns depend on each other.',
                  n.name, mcp._count_in_words(n.planned), mcp._count_in_words(n.rows))
      from n where n.loops > 0 and not deeper_is_off and n.type <> 'Function Scan' and mcp._estimate_is_off(node, parent)
    union all
    select format('%s: sorted on disk (%s kB); work_mem was too small for it.', n.name, mcp._count_in_words((node ->> 'Sort Space Used')::numeric))
      from n where node ->> 'Sort Space Type' = 'Disk'
    union all
    select format('%s: sorted groups on disk (%s kB at most); work_mem was too small for it.', n.name,
                  mcp._count_in_words((node #>> array[g, 'Sort Space Disk', 'Peak Sort Space Used'])::numeric))
      from n cross join unnest(array['Full-sort Groups', 'Pre-sorted Groups']) g where node #> array[g, 'Sort Space Disk'] is not null
    union all
    select format('%s: the hash table went to disk in %s batches; work_mem was too small for it.', n.name, node ->> 'Hash Batches')
      from n where (node ->> 'Hash Batches')::numeric > 1
    union all
    select format('%s: went to disk (%s kB); work_mem was too small for it.', n.name, mcp._count_in_words((node ->> 'Disk Usage')::numeric))
      from n where (node ->> 'Disk Usage')::numeric > 0
    union all
    select format('%s: kept its rows on disk (%s kB); work_mem was too small for it.', n.name, mcp._count_in_words((node ->> 'Maximum Storage')::numeric))
      from n where node ->> 'Storage' = 'Disk'
    union all
    select format('%s: its bitmap names %s pages and not their rows, and %s rows were looked at for nothing; work_mem was too small for it.', n.name,
                  mcp._count_in_words((node ->> 'Lossy Heap Blocks')::numeric), mcp._count_in_words(n.rechecked))
      from n where (node ->> 'Lossy Heap Blocks')::numeric >= 100
    union all
    select format('%s: ran %s times inside a nested loop%s; if many rows are expected there, the estimate of the outer side or a missing index is the cause.',
                  n.name, mcp._count_in_words(n.loops), case when n.ms is null then '' else format(' (%s ms in all)', mcp._count_in_words(n.ms * n.loops)) end)
      from n where n.inner_of_loop and n.type not in ('Materialize', 'Memoize', 'Result')
               and n.loops >= case when n.type = 'Seq Scan' then 100 else 10000 end
               -- The loop itself has said so.
               and coalesce((parent ->> 'Rows Removed by Join Filter')::numeric, 0) * coalesce((parent ->> 'Actual Loops')::numeric, 0) < 10000
    union all
    select format('%s (%s): the subquery ran %s times%s; written as a join it may run once.', n.name, node ->> 'Subplan Name', mcp._count_in_words(n.loops),
                  case when n.ms is null then '' else format(' (%s ms in all)', mcp._count_in_words(n.ms * n.loops)) end)
      from n where node ->> 'Parent Relationship' = 'SubPlan' and n.loops >= 1000
    union all
    select format('%s: would read the whole table about %s times inside a nested loop; an index on the joined column would save this.',
                  n.name, mcp._count_in_words((parent #>> '{Plans,0,Plan Rows}')::numeric))
      from n where n.inner_of_loop and n.loops is null and n.type = 'Seq Scan' and n.cost >= 10 and (parent #>> '{Plans,0,Plan Rows}')::numeric >= 100
    union all
    select format('%s: PostgreSQL knows nothing of a function''s rows and assumes %s; ROWS of CREATE FUNCTION says it better.', n.name, mcp._count_in_words(n.planned))
      from n where n.type = 'Function Scan' and n.planned in (100, 1000) and parent is not null and coalesce(n.rows not between n.planned / 10 and n.planned * 10, true)
    union all
    select format('%s: looked into the table for %s rows although the index has the columns; VACUUM the table.', n.name, mcp._count_in_words((node ->> 'Heap Fetches')::numeric))
      from n where (node ->> 'Heap Fetches')::numeric >= 1000 and (node ->> 'Heap Fetches')::numeric > n.rows * n.loops / 2
    union all
    select format('%s: %s parallel workers were planned and %s came; max_parallel_workers or max_worker_processes was used up.', n.name,
                  node ->> 'Workers Planned', node ->> 'Workers Launched')
      from n where (node ->> 'Workers Launched')::numeric < (node ->> 'Workers Planned')::numeric
$$;
comment on function mcp._node_warnings(jsonb, jsonb, boolean) is '@support What is wrong with one node of a plan, in sentences';

create function mcp._plan_warnings(plan jsonb) returns jsonb
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
declare
    whole constant jsonb := case jsonb_typeof(plan) when 'array' then plan -> 0 else plan end;
    execution constant numeric := whole ->> 'Execution Time';
    found text[];
begin
    with nodes as materialized (
        select p.path, p.node, o.node as parent, mcp._estimate_is_off(p.node, o.node) as off
          from mcp._plan_nodes(plan) p
          left join mcp._plan_nodes(plan) o on p.path <> '{}' and o.path = p.path[1:cardinality(p.path) - 1]
    ), said as (
        select w.sentence, n.path, w.place
          from nodes n
         cross join lateral mcp._node_warnings(n.node, n.parent, n.off and exists (
                     select from nodes d where d.off and cardinality(d.path) > cardinality(n.path) and d.path[1:cardinality(n.path)] = n.path))
               with ordinality as w (sentence, place)
         where w.sentence is not null
        union all
        select format('compiling (JIT) took %s of %s ms; for short queries jit = off is faster.', round(j.ms), round(execution)), array[1000000], 1
          from (select (whole #>> '{JIT,Timing,Total}')::numeric as ms) j
         where j.ms > 50 and j.ms > execution * 0.3
        union all
        select format('planning took %s ms, longer than running it (%s ms); a prepared statement, or fewer partitions and joins, would help.',
                      round((whole ->> 'Planning Time')::numeric), round(execution)), array[1000000], 2
         where (whole ->> 'Planning Time')::numeric > 50 and (whole ->> 'Planning Time')::numeric > execution
        union all
        select format('trigger %s took %s ms in %s calls.', quote_ident(coalesce(t ->> 'Constraint Name', t ->> 'Trigger Name')),
                      round((t ->> 'Time')::numeric), mcp._count_in_words((t ->> 'Calls')::numeric)), array[1000000], 3
          from jsonb_array_elements(whole -> 'Triggers') t
         where (t ->> 'Time')::numeric > 50 and (t ->> 'Time')::numeric > execution * 0.3
    )
    select array_agg(l.sentence order by l.path, l.place) into found
      from (select distinct on (s.sentence) s.* from said s order by s.sentence, s.path, s.place) l;
    return to_jsonb(coalesce(found[1:20], '{}'))
           || case when cardinality(found) > 20 then jsonb_build_array(format('%s more of the like.', cardinality(found) - 20)) else '[]' end;
exception when data_exception or invalid_parameter_value then
    return '[]';
end
$$;
comment on function mcp._plan_warnings(jsonb) is
    '@support What a plan of EXPLAIN (FORMAT JSON) shows to be wrong, in sentences, from the top of the plan down; empty if nothing';

create function mcp._statistics_warnings(plan jsonb) returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    -- Without VERBOSE a plan does not say a table's schema: then only a name that is the only one of its kind is looked at.
    with tables as (
        select distinct c.oid
          from mcp._plan_nodes(plan) p
          join pg_class c on c.relname = p.node ->> 'Relation Name' and c.relkind in ('r', 'm')
          join pg_namespace n on n.oid = c.relnamespace
         where case when p.node ? 'Schema' then n.nspname = p.node ->> 'Schema'
                    else n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
                     and not exists (select from pg_class o join pg_namespace s on s.oid = o.relnamespace
                                      where o.relname = c.relname and o.oid <> c.oid and o.relkind in ('r', 'm') and s.nspname !~ '^pg_') end
           and mcp._usable_table(c.oid)
    ), looked_at as (
        select t.oid, mcp._table_name(t.oid) as name, c.reltuples, pg_stat_get_mod_since_analyze(t.oid) as changed, pg_stat_get_live_tuples(t.oid) as live
          from tables t join pg_class c on c.oid = t.oid
    )
    select coalesce(jsonb_agg(case
               when l.reltuples < 0 then format('%s was never analyzed, so its estimates are guesses; run ANALYZE %s.', l.name, l.name)
               else format('%s rows of %s changed since it was analyzed, of about %s; run ANALYZE %s.', mcp._count_in_words(l.changed), l.name,
                           mcp._count_in_words(greatest(l.live, 0)), l.name) end order by l.name), '[]')
      from looked_at l
     where l.reltuples < 0 or l.changed >= 1000 and l.changed > l.live * 0.3
$$;
comment on function mcp._statistics_warnings(jsonb) is
    '@support Which tables of a plan have no statistics, or old ones, in sentences; for beside mcp._plan_warnings';
