-- Owns: mcp.report_activity_page: who did what, as one page of Markdown that an auditor can file.
-- Runs: as the reader of a report, a member of mcp_auditor.
-- Must not: put what a caller sent or chose on the page but through mcp._report_code.

create function mcp._report_verified("from" timestamptz, "to" timestamptz) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    verdict jsonb;
begin
    if to_regprocedure('mcp.audit_verify(timestamptz, timestamptz)') is null then
        return E'Not verified: this server has no mcp.audit_verify.\n';
    end if;
    execute 'select pg_catalog.to_jsonb(v) from mcp.audit_verify($1, $2) v limit 1' into verdict using "from", "to";
    return case when (verdict ->> 'ok')::boolean then E'**Verified**: no record of this period was changed, removed or inserted since it was sealed.\n'
                else format(E'**Not intact**: %s.\n', coalesce(mcp._report_code(verdict ->> 'problem', 1000), 'no reason is given')) end
           || coalesce((select E'\n' || string_agg(format(E'- %s: %s\n', replace(v.key, '_', ' '), mcp._report_code(v.value #>> '{}')), '' order by v.n)
                          from jsonb_each(verdict - '{ok,problem}'::text[]) with ordinality v (key, value, n) where v.value <> 'null'), '');
exception when insufficient_privilege then
    return format(E'Not verified: %s may not call mcp.audit_verify.\n', mcp._report_code(current_user));
end
$$;
comment on function mcp._report_verified(timestamptz, timestamptz) is 'Whether the audit trail of a time is as it was written, as a paragraph of a page';

create function mcp._report_changed(changed jsonb, most integer) returns text
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
    select string_agg(c.shown, ', ' order by c.n) filter (where c.n <= most) || case when count(*) > most then format(' and %s more tables', count(*) - most) else '' end
      from (select row_number() over (order by r.object collate "C") as n,
                   mcp._report_code(r.object, 130) || ' (' || concat_ws(', ', nullif(r.inserted, 0) || ' inserted', nullif(r.updated, 0) || ' updated',
                                                                        nullif(r.deleted, 0) || ' deleted') || ')' as shown
              from mcp._report_changes(changed) r) c
$$;
comment on function mcp._report_changed(jsonb, integer) is 'Rows changed, table by table, in words';

create function mcp.report_activity_page("from" timestamptz, "to" timestamptz default now(), most integer default 50) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
set jit = off
set work_mem = '64MB'
as $$
#variable_conflict use_column
declare
    rest constant text := 'mcp.audit has all';
    totals text;
    summary text[];
    callers bigint;
    sections text;
    changes text[];
    changed_tables bigint;
    failed text[];
    failures bigint;
    unfinished text[];
    unended bigint;
    logins text[];
    failed_logins bigint;
    events text[];
    happened bigint;
begin
    perform mcp._report_period("from", "to");
    if most is null or most < 1 then
        raise exception 'most must be 1 or more' using errcode = 'invalid_parameter_value', hint = 'It is the number of rows that the page has of each kind.';
    end if;

    with found as materialized (
        select r.*, row_number() over () as n, count(*) over () as total
          from mcp.report_activity("from", "to") r
    )
    select format(E'- Principals: %s; roles: %s\n- Calls: %s, of which %s could write\n- Errors: %s\n- Refusals: %s\n- Calls that may write and have no end: %s\n- Failed logins: %s\n',
                  count(*) filter (where f.principal is not null), count(distinct f.role), coalesce(sum(f.calls), 0), coalesce(sum(f.writes), 0),
                  coalesce(sum(f.errors), 0), coalesce(sum(f.refusals), 0), coalesce(sum(f.open), 0), coalesce(sum(f.failed_logins), 0)),
           array_agg(mcp._report_row(coalesce(mcp._report_code(f.principal), '*nobody*'), mcp._report_code(f.token_label), mcp._report_code(f.role), f.calls::text,
                                     f.writes::text, f.errors::text, f.refusals::text, f.failed_logins::text, mcp._report_time(f.first_time), mcp._report_time(f.last_time)) order by f.n) filter (where f.n <= most),
           max(f.total),
           string_agg(E'\n### ' || coalesce(mcp._report_code(f.principal), 'Nobody: failed logins with a ' || mcp._report_code(f.authentication))
                      || coalesce(' as role ' || mcp._report_code(f.role), '') || E'\n\n'
                      || coalesce('- Label: ' || mcp._report_code(f.token_label) || E'\n', '')
                      || format(E'- Calls: %s, of which %s could write; errors: %s; refusals: %s; without end: %s; failed logins: %s\n', f.calls, f.writes, f.errors, f.refusals, f.open, f.failed_logins)
                      || format(E'- From %s to %s\n', mcp._report_time(f.first_time), mcp._report_time(f.last_time))
                      || coalesce('- Rows changed: ' || mcp._report_changed(f.changed, most) || E'\n', '')
                      || coalesce('- Tables touched: ' || nullif(mcp._report_codes(f.tables, most), '') || E'\n', '')
                      || coalesce('- Tools: ' || nullif(mcp._report_codes(f.tools, most), '') || E'\n', '')
                      || coalesce('- Clients: ' || nullif(mcp._report_codes(f.clients, 10), '') || E'\n', '')
                      || coalesce('- From: ' || nullif(mcp._report_codes(f.peers, 10), '') || E'\n', ''), '' order by f.n) filter (where f.n <= most)
      into totals, summary, callers, sections
      from found f;

    select array_agg(mcp._report_row(mcp._report_code(x.object, 130), x.inserted::text, x.updated::text, x.deleted::text, x.calls::text,
                                     mcp._report_codes(x.principals, 5)) order by x.n) filter (where x.n <= most), count(*)
      into changes, changed_tables
      from (select r.object, sum(r.inserted) as inserted, sum(r.updated) as updated, sum(r.deleted) as deleted, count(*) as calls,
                   array_agg(distinct coalesce(c.principal, 'nobody')) as principals, row_number() over (order by r.object collate "C") as n
              from mcp._report_calls("from", "to") c cross join lateral mcp._report_changes(c.changed) r
             where c.changed is not null
             group by r.object) x;

    -- Like ones together; what was sent is of the last of them.
    select array_agg(mcp._report_row(mcp._report_time(x.last_time), x.times::text, mcp._report_code(x.principal), mcp._report_code(x.method), mcp._report_code(x.tool, 100), mcp._report_code(x.outcome),
                                     mcp._report_code(x.sqlstate), mcp._report_code(x.rule), (select mcp._report_code(a.arguments, 200) from mcp.audit a where a.id = x.id and a.time = x.last_time)) order by x.n),
           max(x.total)
      into failed, failures
      from (select c.principal, c.method, c.tool, c.outcome, c.sqlstate, c.rule, sum(c.times) as times, max(c.time) as last_time, (array_agg(c.id order by c.time desc, c.id desc))[1] as id,
                   row_number() over (order by max(c.time) desc, max(c.id) desc) as n, count(*) over () as total
              from mcp._report_calls("from", "to") c
             where c.outcome not in ('ok', 'open') and c.method is distinct from 'login'
             group by 1, 2, 3, 4, 5, 6
             order by n limit most) x;

    select array_agg(mcp._report_row(mcp._report_time(x.time), x.id::text, mcp._report_code(x.principal), mcp._report_code(x.tool, 100), mcp._report_code(x.outcome),
                                     case when x.committed then '**committed**' when x.outcome = 'open' then 'not known yet' when x.committed is null then 'not known' else 'rolled back' end,
                                     (select mcp._report_code(a.arguments, 200) from mcp.audit a where a.id = x.id and a.time = x.time)) order by x.n),
           max(x.total)
      into unfinished, unended
      from (select c.*, row_number() over (order by c.time desc, c.id desc) as n, count(*) over () as total
              from mcp._report_calls("from", "to") c where c.writes and c.outcome in ('open', 'terminated', 'disconnected') order by n limit most) x;

    select array_agg(mcp._report_row(mcp._report_time(x.first_time), mcp._report_time(x.last_time), x.times::text, mcp._report_code(x.authentication), mcp._report_code(x.role),
                                     mcp._report_code(x.peer), mcp._report_code(x.rule)) order by x.n),
           max(x.total)
      into logins, failed_logins
      from (select c.authentication, c.role, c.peer, c.rule, sum(c.times) as times, min(c.time) as first_time, max(c.time) as last_time,
                   row_number() over (order by max(c.time) desc, max(c.id) desc) as n, count(*) over () as total
              from mcp._report_calls("from", "to") c where c.method = 'login' and c.outcome <> 'ok' group by 1, 2, 3, 4 order by n limit most) x;

    select array_agg(mcp._report_row(mcp._report_time(x.time), x.id::text, mcp._report_code(x.method), mcp._report_code(x.arguments, 400)) order by x.n), max(x.total)
      into events, happened
      from (select a.time, a.id, a.method, a.arguments, row_number() over (order by a.time, a.id) as n, count(*) over () as total
              from mcp.audit a
             where a.time >= "from" and a.time < "to" and a.outcome is null and a.principal is null and a.authentication is null
             order by n limit most) x;

    return mcp._report_head('Who did: activity through the MCP server')
           || format(E'- Period: from %s, before %s\n', mcp._report_time("from"), mcp._report_time("to"))
           || E'\nFrom the audit trail of this database. What callers chose or sent is written as it came, shortened; `\\u0060` stands for a character that would not show.\n'
           || E'\n## The trail\n\n' || mcp._report_verified("from", "to")
           || E'\n### Gaps and purges\n\n' || mcp._report_table('{time,record,event,about}', events, happened, rest)
           || E'\n## Totals\n\n' || totals
           || E'\n' || mcp._report_table(array['principal', 'label', 'role', 'calls', 'could write', 'errors', 'refusals', 'failed logins', 'first', 'last'], summary, callers, 'mcp.report_activity has all')
           || E'\n## Changes by table\n\n' || mcp._report_table(array['table', 'inserted', 'updated', 'deleted', 'calls', 'by'], changes, changed_tables, rest)
           || E'\n## Calls that ended without a word\n\nThey could write, and their process was ended, or nothing is known of their end.\n\n'
           || mcp._report_table(array['time', 'record', 'principal', 'tool', 'outcome', 'what became of it', 'sent'], unfinished, unended, rest)
           || E'\n## Refused and failed calls\n\n'
           || mcp._report_table(array['last', 'times', 'principal', 'method', 'tool', 'outcome', 'SQLSTATE', 'rule', 'sent'], failed, failures, rest)
           || E'\n## Failed logins\n\n' || mcp._report_table(array['first', 'last', 'times', 'credential', 'role', 'from', 'why'], logins, failed_logins, rest)
           || E'\n## Principals\n' || coalesce(sections, E'\nNone.\n')
           || case when callers > most then format(E'\nand %s more: mcp.report_activity has all\n', callers - most) else '' end;
end
$$;
comment on function mcp.report_activity_page(timestamptz, timestamptz, integer) is
    'mcp.report_activity as a page of Markdown to be filed: whether the trail verifies, totals, changes, failures, failed logins, and a section for each principal, with at most so many rows of each kind';
