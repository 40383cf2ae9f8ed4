-- Owns: the tool get_advisors, in the shape of Supabase's server, and mcp._lints, the same findings one by one.
-- Runs: as the caller. What a caller's rights do not let a lint see is said under not_checked, and the other lints are run all the same.
-- Must not: answer with more bytes than one call may have.

create function mcp._lint_findings(lints text[]) returns table (lint text, detail text, metadata jsonb, cache_key text, fault text)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    item record;
begin
    for item in select c.name, c.source from mcp._lint_catalog() c where c.name = any (lints) order by c.number loop
        begin
            return query execute format('select %L::text, f.detail, f.metadata, %L || f.key, null::text from %s f', item.name, item.name || ':', item.source);
        exception when others then
            -- A catalog that an administrator closed, an object dropped at this moment: no reason to know nothing of the rest.
            return query select item.name, null::text, null::jsonb, null::text, left(sqlerrm, 200);
        end;
    end loop;
end
$$;
comment on function mcp._lint_findings(text[]) is '@support Runs lints by name; of one that cannot be run it gives the fault instead of findings';

create function mcp._lints()
returns table (name text, level text, categories text[], title text, description text, remediation text, detail text, metadata jsonb, cache_key text)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select c.name, c.level, array[c.category], c.title, c.description, c.remediation, f.detail, f.metadata, f.cache_key
      from mcp._lint_findings(array(select l.name from mcp._lint_catalog() l)) f
      join mcp._lint_catalog() c on c.name = f.lint
     where f.fault is null
     order by c.number, f.cache_key collate "C"
$$;
comment on function mcp._lints() is
    '@support The findings of all lints. cache_key is the same for the same finding each time, so that two states of a database can be compared';

create function mcp._lint_gaps() returns table (lint text, reason text)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select 'public_bucket_allows_listing', b.gap from mcp._lint_buckets() b where b.gap is not null
    union all
    select 'table_bloat', format('%s tables over 20 MB, such as %s, have statistics that you may not see; needs SELECT on them, without row level security',
                                 count(*), min(t.label))
      from mcp._lint_large_tables() t
     where not t.readable
    having count(*) > 0
    union all
    select 'unused_index', 'track_counts is off: nobody counts the use of indexes' where not current_setting('track_counts')::boolean
    union all
    select 'unused_index', 'this is a standby, and knows only its own use of indexes' where pg_is_in_recovery()
$$;
comment on function mcp._lint_gaps() is '@support Lints that do not see all they should, and why';

create function mcp.get_advisors(type text, lint text default null, max_findings integer default null) returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    wanted constant text[] := array(select c.name from mcp._lint_catalog() c
                                     where c.category = upper(get_advisors.type) and (get_advisors.lint is null or c.name = get_advisors.lint));
    most constant integer := least(greatest(coalesce(max_findings, 50), 0), 10000);
    budget constant bigint := mcp._byte_budget();
    other text;
    answer jsonb;
begin
    if lower(type) is null or lower(type) not in ('security', 'performance') then
        raise exception 'type must be "security" or "performance"' using errcode = 'invalid_parameter_value',
            hint = 'Call it once for each; there is no type for both.';
    end if;
    if cardinality(wanted) = 0 then
        other := (select lower(c.category) from mcp._lint_catalog() c where c.name = get_advisors.lint);
        raise exception 'there is no % lint "%"', lower(type), left(lint, 100)
            using errcode = 'invalid_parameter_value',
                  hint = case when other is not null then format('It is a lint of type "%s".', other)
                              else coalesce('Perhaps you meant ' || nullif(array_to_string(mcp._near(left(lint, 100),
                                       array(select c.name from mcp._lint_catalog() c where c.category = upper(get_advisors.type))), ' or '), '') || '.',
                                   'Leave lint out for all of them.') end;
    end if;

    with found as materialized (
        select f.*, row_number() over (partition by f.lint order by f.cache_key collate "C") as place, count(*) over (partition by f.lint) as total
          from mcp._lint_findings(wanted) f
    ), heads as (
        select c.name, c.level, c.number, f.total, jsonb_build_object(
                   'name', c.name, 'title', c.title, 'level', c.level, 'facing', 'EXTERNAL', 'categories', jsonb_build_array(c.category),
                   'description', c.description, 'remediation', c.remediation, 'count', f.total, 'findings', '[]'::jsonb) as head
          from mcp._lint_catalog() c
          join found f on f.lint = c.name and f.place = 1 and f.fault is null
    ), lints as (
        -- The worst first. If not even the lints fit (max_bytes is very small), the least are left out.
        select h.*, row_number() over o as place, sum(octet_length(h.head::text) + 20) over o as bytes
          from heads h
        window o as (order by array_position('{ERROR,WARN,INFO}', h.level), h.number)
    ), room as (
        select budget - max(l.bytes) as bytes from lints l where l.place = 1 or l.bytes <= budget
    ), items as (
        select f.lint, f.place, l.place as lint_place, jsonb_build_object('detail', f.detail, 'metadata', f.metadata) as item
          from found f
          join lints l on l.name = f.lint and (l.place = 1 or l.bytes <= budget)
         where f.place <= most
    ), sized as (
        -- The first finding of every lint comes before the second of any.
        select i.*, sum(octet_length(i.item::text) + 2) over (order by i.place, i.lint_place) as bytes from items i
    ), shown as (
        select s.lint, jsonb_agg(s.item order by s.place) as items, count(*) as number from sized s cross join room r where s.bytes <= r.bytes group by s.lint
    ), gaps as (
        select g.lint, g.reason from mcp._lint_gaps() g where g.lint = any (wanted)
        union all
        select f.lint, f.fault from found f where f.fault is not null
    )
    select jsonb_build_object('lints', (
               select coalesce(jsonb_agg(l.head
                                         || case when s.items is null then '{}' else jsonb_build_object('findings', s.items) end
                                         || case when l.total > coalesce(s.number, 0) then '{"truncated": true}' else '{}'::jsonb end
                                         order by l.place), '[]')
                 from lints l
                 left join shown s on s.lint = l.name
                where l.place = 1 or l.bytes <= budget))
           || case when (select max(l.bytes) > budget and count(*) > 1 from lints l) then '{"truncated": true}' else '{}'::jsonb end
           || coalesce((select jsonb_build_object('not_checked', jsonb_agg(jsonb_build_object('name', g.lint, 'reason', g.reason) order by g.lint, g.reason))
                          from gaps g having count(*) > 0), '{}')
      into answer;

    -- Without Supabase's roles a reader could not know who "anon or authenticated" is.
    if lower(type) = 'security' and not exists (select from pg_roles r where r.rolname in ('anon', 'authenticated')) then
        answer := answer || jsonb_build_object('note', format('There is no role anon or authenticated here: exposed means readable by %s in schema %s.',
                                                              mcp._lint_audience(), array_to_string(mcp._lint_exposed_schemas(), ', ')));
    end if;
    return jsonb_build_object('result', answer);
end
$$;
comment on function mcp.get_advisors(text, text, integer) is
'@mcp({"kind": "tool", "features": ["debugging"], "title": "Get advisors",
      "args": {"type": {"schema": {"enum": ["security", "performance"]}}, "max_findings": "50 per lint if left out"},
      "output": {"result": "object"}})
Finds problems such as missing RLS or indexes. Call it after changing tables.';
