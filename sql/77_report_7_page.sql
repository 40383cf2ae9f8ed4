-- Owns: mcp.report_access_page: who could, as one page of Markdown that an auditor can file.
-- Runs: as the reader of a report.
-- Must not: put a name on the page but through mcp._report_code; name more objects than somebody reads.

create function mcp._report_head(title text) returns text
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select format(E'# %s\n\n- Database: %s\n- Server: PostgreSQL %s, system identifier %s, port %s%s\n- Extension: supabase_mcp %s\n- Made: %s, by %s\n',
                  title, mcp._report_code(current_database()), current_setting('server_version'), (select s.system_identifier from pg_control_system() s),
                  current_setting('port'), coalesce(', cluster ' || mcp._report_code(nullif(current_setting('cluster_name'), '')), ''),
                  (select e.extversion from pg_extension e where e.extname = 'supabase_mcp'),
                  mcp._report_time(now()), mcp._report_code(session_user) || case when current_user <> session_user then ' as ' || mcp._report_code(current_user) else '' end)
$$;
comment on function mcp._report_head(text) is 'The head of a page: what it is, of which server and database, made when and by whom';

create function mcp.report_access_page(role regrole default null, most integer default 50) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
set jit = off
set work_mem = '64MB'
as $$
#variable_conflict use_column
declare
    wanted constant oid := role;
    summary text[];
    sections text;
    findings text;
    -- Where the rest of a list is to be read.
    rest constant text := 'mcp.report_access has all';
begin
    if most is null or most < 1 then
        raise exception 'most must be 1 or more' using errcode = 'invalid_parameter_value', hint = 'It is the number of rows that the page has of each kind.';
    end if;
    with found as materialized (
        select a.*, row_number() over () as place from mcp._report_access(wanted) a
    ), numbers as (
        select f.role,
               count(distinct f.object) filter (where f.kind = 'tool' and f.object <> 'execute_sql_write') as tools,
               bool_or(f.kind = 'tool' and f.note = 'free SQL, read-only') as free,
               bool_or(f.kind = 'tool' and f.note ~ '^free SQL that writes') as writes,
               count(distinct f.object) filter (where t.usable and exists (select from unnest(f.privileges) p where p ~ '^(SELECT|ALL)')) as reads,
               count(distinct f.object) filter (where t.usable and exists (select from unnest(f.privileges) p where p ~ '^(INSERT|UPDATE|DELETE|TRUNCATE|ALL)')) as changes,
               bool_or(f.kind = 'refused') as refused, min(f.ways) as ways, min(f.place) as place
          from found f
         cross join lateral (select f.kind in ('table', 'view', 'materialized view', 'foreign table') and f.through !~ '^after SET ROLE ' and coalesce(f.note, '') !~ 'cannot be used' as usable) t
         group by f.role
    ), ordered as (
        -- What weighs most comes first, for a long list is cut.
        select f.*, row_number() over (partition by f.role, f.kind order by f.note ~ '^free SQL' desc nulls last, f.note ~ 'may write|runs with the rights' desc nulls last,
                                                                           f.row_security is distinct from 'off', f.through ~ '^PUBLIC', f.place) as n,
               count(*) over (partition by f.role, f.kind) as total
          from found f where f.kind not in ('role', 'refused')
    ), kinds as (
        select o.role, o.kind, min(o.place) as place,
               format(E'### %s (%s)\n\n', upper(left(o.kind, 1)) || substr(o.kind, 2), max(o.total))
               || mcp._report_table(array[o.kind, 'privileges', 'through', 'granted by'] || case o.kind when 'table' then array['row level security', 'policies'] when 'tool' then array['limits'] else '{}' end
                                    || array['note'],
                      array_agg(mcp._report_row(variadic array[mcp._report_code(o.object), mcp._report_code(array_to_string(o.privileges, ', ')), mcp._report_code(o.through), mcp._report_code(o.grantor)]
                                                || case o.kind when 'table' then array[o.row_security, case when o.policies = '{}' then 'none: no rows' else mcp._report_codes(o.policies, 5) end]
                                                               when 'tool' then array[mcp._report_code(o.limits::text)] else '{}' end
                                                || array[mcp._report_code(o.note)]) order by o.n) filter (where o.n <= most),
                      max(o.total), rest) as text
          from ordered o where o.n <= most group by o.role, o.kind
    ), roles as (
        select n.*, r.kind, r.privileges, r.limits, r.note
          from numbers n join found r on r.role = n.role and r.kind in ('role', 'refused')
    )
    select array_agg(mcp._report_row(mcp._report_code(r.role), case when r.refused then '**no**' else 'yes' end, mcp._report_codes(r.ways, 3), r.tools::text,
                                     case when r.writes and r.free then '**writes**' when r.free then 'reads' else 'no' end, r.reads::text, r.changes::text) order by r.place),
           string_agg(format(E'\n## Role %s\n\n', mcp._report_code(r.role))
                      || case when r.ways = '{}' then E'- No credential stands for it.\n'
                              else (select string_agg(format(E'- Way in: %s\n', mcp._report_code(w.way)), '' order by w.n) filter (where w.n <= most)
                                           || case when cardinality(r.ways) > most then format(E'- and %s more ways in\n', cardinality(r.ways) - most) else '' end
                                      from unnest(r.ways) with ordinality w (way, n)) end
                      || coalesce('- Attributes: ' || mcp._report_code(array_to_string(r.privileges, ', ')) || E'\n', '')
                      || case when r.kind = 'role' then format(E'- Limits: %s\n', coalesce(mcp._report_code(r.limits::text, 1000), 'none but those of the server')) else '' end
                      || coalesce('- Note: ' || mcp._report_code(r.note) || E'\n', '')
                      || coalesce((select E'\n' || string_agg(k.text, E'\n' order by k.place) from kinds k where k.role = r.role), ''), '' order by r.place)
      into summary, sections
      from roles r;

    select string_agg(format(E'- **%s**: %s%s: %s\n', f.level, coalesce(mcp._report_code(f.role) || ' ', ''), f.finding, mcp._report_codes(f.objects, most)), '' order by f.n)
      into findings
      from (select g.*, row_number() over () as n from mcp._report_findings(wanted) g) f;

    return mcp._report_head('Who could: access through the MCP server')
           || E'\n' || case when wanted is null then 'Every role that a credential stands for'
                            else 'One role, ' || mcp._report_code(pg_get_userbyid(wanted)) || case when summary is null then ', for which no live credential stands' else '' end end
           || ', what it may call and what it may touch in this database. Other databases have reports of their own.'
           || E' Names are written as they are in SQL; `\\u0060` stands for a character that would not show.\n'
           || E'\n## Summary\n\n'
           || mcp._report_table(array['role', 'served', 'ways in', 'tools', 'free SQL', 'may read', 'may change'], summary)
           || coalesce(sections, '')
           || E'\n## Findings\n\n' || coalesce(findings, E'None.\n');
end
$$;
comment on function mcp.report_access_page(regrole, integer) is
    'mcp.report_access as a page of Markdown to be filed: a summary, a section for each role with at most so many rows of each kind, and what an auditor should look at';
