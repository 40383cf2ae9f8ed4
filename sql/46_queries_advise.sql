-- Owns: the tool advise_indexes.
-- Runs: as the caller, read-only; candidates are tried as hypothetical indexes, which exist in this process alone and are taken away.
-- Must not: make an index, or run the statement.

create function mcp._try_indexes(query text, commands text[], out cost double precision, out bytes bigint)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    bytes := (select sum((h ->> 'size_bytes')::bigint) from jsonb_array_elements(mcp._hypothetical(to_jsonb(commands))) h);
    cost := mcp._plan(query) #>> '{0,Plan,Total Cost}';
end
$$;
comment on function mcp._try_indexes(text, text[]) is '@support The cost of a statement''s plan if there were these indexes, and their size';

create function mcp._advise(query text, max_indexes integer) returns jsonb
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    can_check constant boolean := mcp._hypopg() is not null;
    plan jsonb;
    before double precision;
    now_at double precision;
    candidates text[];
    candidate text;
    tried_in_all integer := 0;
    tried record;
    tried_bytes bigint;
    rank numeric[];
    helpful text[];
    best text;
    best_rank numeric[];
    best_cost double precision;
    best_bytes bigint;
    chosen text[] := '{}';
    chosen_bytes bigint;
    found jsonb := '[]';
    unchecked jsonb;
begin
    perform mcp._hypothetical('[]');
    plan := mcp._plan(query);
    before := plan #>> '{0,Plan,Total Cost}';
    now_at := before;
    if can_check then
        select coalesce(array_agg(c.command order by c.command), '{}') into candidates from mcp._index_candidates(plan) c where c.checkable;
        tried_in_all := cardinality(candidates);
        -- In each round all that is left is tried beside what was chosen. Of those that are about as good the smallest is taken, and
        -- only if it saves a good part of what is left.
        while cardinality(chosen) < max_indexes and cardinality(candidates) > 0 loop
            helpful := '{}';
            best := null;
            foreach candidate in array candidates loop
                begin
                    tried := mcp._try_indexes(query, chosen || candidate);
                    if tried.cost < before * 0.9999 and tried.cost < now_at then
                        helpful := helpful || candidate;
                        tried_bytes := tried.bytes - coalesce(chosen_bytes, 0);
                        rank := array[round(ln(greatest(tried.cost, 0.01)) * 10)::numeric, tried_bytes::numeric];
                        if tried.cost < now_at * 0.9 and (best is null or rank < best_rank) then
                            best := candidate;
                            best_rank := rank;
                            best_cost := tried.cost;
                            best_bytes := tried_bytes;
                        end if;
                    end if;
                exception when others then
                    -- A type without an operator class, or a row too wide for an index.
                    null;
                end;
            end loop;
            exit when best is null;
            chosen := chosen || best;
            chosen_bytes := coalesce(chosen_bytes, 0) + coalesce(best_bytes, 0);
            found := found || jsonb_strip_nulls(jsonb_build_object(
                'create', best || ';', 'size_bytes', best_bytes, 'cost_before', now_at, 'cost_after', best_cost));
            now_at := best_cost;
            candidates := array_remove(helpful, best);
        end loop;
        perform mcp._hypothetical('[]');
    end if;
    select jsonb_agg(c.command || ';' order by c.command) into unchecked from mcp._index_candidates(plan) c where not (c.checkable and can_check);
    return jsonb_strip_nulls(jsonb_build_object('indexes', found, 'cost_before', before, 'cost_after', now_at, 'tried', tried_in_all,
                                                'unchecked', unchecked));
exception when others or query_canceled then
    perform mcp._hypothetical('[]');
    raise;
end
$$;
comment on function mcp._advise(text, integer) is '@support Indexes that would make one statement cheaper by the planner''s reckoning';

create function mcp._plan_risk(role oid) returns text
language sql stable strict
set search_path = pg_catalog, pg_temp
as $$
    -- To plan a statement is to run the functions in it that are not volatile, behind views and operators too, with the rights of whoever asks for
    -- the plan. Roles that have those rights anyway, and those whose tools everybody sees, may have theirs run. So may Supabase's own, which
    -- nobody else there can be.
    with me as (
        select r.oid, coalesce((select a.oid from pg_roles a where a.rolname = 'mcp_admin'), 10) as administrators,
               array(select s.oid from pg_roles s
                      where s.rolname in ('supabase_auth_admin', 'supabase_storage_admin', 'supabase_functions_admin', 'supabase_realtime_admin')) as platform
          from pg_roles r where r.rolname = current_user
    ), trusted as materialized (
        select r.oid from pg_roles r cross join me
         where pg_has_role(r.oid, me.oid, 'MEMBER') or pg_has_role(r.oid, me.administrators, 'MEMBER') or r.oid = any (me.platform)
    )
    select case
               when role in (select t.oid from trusted t) then null
               when has_database_privilege(role, (select d.oid from pg_database d where d.datname = current_database()), 'CREATE')
                    or exists (select from pg_namespace n where n.nspname !~ '^pg_(toast_)?temp_' and has_schema_privilege(role, n.oid, 'CREATE'))
                   then format('role %I, who ran it, may create functions', pg_get_userbyid(role))
               else (select format('function %s of role %I may be in it', p.oid::regprocedure, pg_get_userbyid(p.proowner))
                       from pg_proc p
                      where p.oid >= 16384 and p.provolatile <> 'v' and p.proowner not in (select t.oid from trusted t)
                        and has_function_privilege(p.oid, 'EXECUTE') and has_schema_privilege(p.pronamespace, 'USAGE')
                      limit 1)
           end
$$;
comment on function mcp._plan_risk(oid) is
    '@support Why planning a statement that a role ran could run code of others with the current user''s rights; null if it could not';

create function mcp._advise_workload(max_indexes integer, max_statements integer) returns jsonb
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    source constant text := mcp._statements_source();
    statement record;
    advice jsonb;
    gains jsonb := '[]';
    skipped jsonb := '[]';
    unchecked jsonb := '[]';
    looked_at integer := 0;
    risk text;
begin
    for statement in execute format(
        'select s.queryid, min(s.query) as query, sum(s.total_exec_time) as ms, s.userid from %s s'
        ' where s.dbid = (select d.oid from pg_database d where d.datname = current_database()) and s.queryid is not null'
        -- What has a plan; a comment may stand before it.
        ' and s.query ~* $r$^(\s|/\*.*?\*/|--[^\n]*\n|\()*(select|with|insert|update|delete|merge|table)\M$r$'
        ' group by s.queryid, s.userid order by 3 desc limit $1', source) using max_statements
    loop
        risk := mcp._plan_risk(statement.userid);
        if risk is not null then
            skipped := skipped || jsonb_build_object('queryid', statement.queryid::text, 'query', mcp._cut(statement.query, 80), 'why',
                format('planning it could run functions with your rights: %s. Read it, and give it in "query" if you trust it.', risk));
            continue;
        end if;
        begin
            advice := mcp._advise(statement.query, max_indexes);
            looked_at := looked_at + 1;
            unchecked := unchecked || coalesce(advice -> 'unchecked', '[]');
            -- A part of the cost is taken for the same part of the time.
            gains := gains || coalesce((
                select jsonb_agg(i || jsonb_build_object('queryid', statement.queryid::text, 'ms',
                           statement.ms * ((i ->> 'cost_before')::double precision - (i ->> 'cost_after')::double precision)
                           / nullif((advice ->> 'cost_before')::double precision, 0)))
                  from jsonb_array_elements(advice -> 'indexes') i), '[]');
        exception when others then
            skipped := skipped || jsonb_build_object('queryid', statement.queryid::text, 'query', mcp._cut(statement.query, 80), 'why', mcp._cut(sqlerrm, 200));
        end;
    end loop;
    return jsonb_strip_nulls(jsonb_build_object(
        'indexes', (
            -- What a longer index begins with needs none of its own.
            with by_command as (
                select g ->> 'create' as command, max((g ->> 'size_bytes')::bigint) as bytes, sum((g ->> 'ms')::numeric) as ms, jsonb_agg(g -> 'queryid') as queries
                  from jsonb_array_elements(gains) g group by 1
            ), kept as (
                select k.*, array(select o.command from by_command o where starts_with(k.command, left(o.command, -2) || ',')) as contains
                  from by_command k
                 where not exists (select from by_command l where starts_with(l.command, left(k.command, -2) || ','))
            )
            select coalesce(jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
                       'create', k.command, 'size_bytes', k.bytes, 'saves_ms', round(t.ms, 1), 'statements', t.queries)) order by t.ms desc), '[]')
              from kept k
             cross join lateral (
                   select sum(c.ms) as ms, jsonb_agg(distinct q) as queries
                     from by_command c cross join lateral jsonb_array_elements(c.queries) q
                    where c.command = k.command or c.command = any (k.contains)) t),
        'looked_at', looked_at,
        'unchecked', (select nullif(jsonb_agg(distinct u), '[]') from jsonb_array_elements(unchecked) u),
        'skipped', nullif(skipped, '[]')));
end
$$;
comment on function mcp._advise_workload(integer, integer) is '@support Indexes for the statements that cost most, from pg_stat_statements, with the time that they could save';

create function mcp.advise_indexes(query text default null) returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    answer jsonb;
begin
    answer := case when query is null then mcp._advise_workload(3, 20) else mcp._advise(query, 5) end;
    if mcp._hypopg() is null then
        return answer || jsonb_build_object('checked', false, 'missing',
            'Candidates are not checked: that needs the extension hypopg. ' || mcp._missing_hypopg());
    end if;
    return answer || '{"checked": true}' || case when answer -> 'indexes' = '[]' then '{}'::jsonb else jsonb_build_object('note',
        'By the planner''s estimate; nothing was made. CREATE INDEX CONCURRENTLY, outside of a transaction, lets writes go on. Each index slows writes.') end;
end
$$;
comment on function mcp.advise_indexes(text) is
'@mcp({"kind": "tool", "features": ["queries"], "sql": true, "title": "Advise indexes",
      "args": {"query": "If left out: the costliest of pg_stat_statements"},
      "output": {"indexes": "array", "checked": "boolean", "cost_before?": "number", "cost_after?": "number", "tried?": "integer",
                 "looked_at?": "integer", "unchecked?": "array", "skipped?": "array", "missing?": "string", "note?": "string"}})
Finds indexes that would make a statement cheaper by the planner''s estimate. Candidates are tried as hypothetical indexes (hypopg; without it they are unchecked). Nothing is created or run.';
