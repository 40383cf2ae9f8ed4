-- Owns: the audit trail as lines of text, for programs that keep or search it elsewhere.
-- Runs: in an auditor's session, with the auditor's own rights; rows are sorted on disk where memory does not hold them.
-- Must not: let what a caller wrote into the trail become a record of its own, or a formula in a spreadsheet.

create function mcp.audit_export(format text, "from" timestamptz default now() - interval '24 hours', "to" timestamptz default 'infinity') returns setof text
language sql stable
set search_path = pg_catalog, pg_temp
set jit = off
set timezone = 'UTC'
set datestyle = 'ISO, YMD'
set bytea_output = 'hex'
as $$
    select l.line
      from (
            select 0 as id,
                   'id,time,database,role,principal,token_label,authentication,issuer,subject,client,peer,request_id,trace,method,tool,arguments,arguments_bytes,'
                   'arguments_digest,queryid,mode,outcome,sqlstate,rule,times,rows,bytes,changed,wal_bytes,queue_us,run_us,answer_us,xid,committed,objects,'
                   'outcome_id,ended,statement,normalised' as line
             where case when mcp._audit_check(format, '{jsonl,csv}', "from", "to") then format = 'csv' end
             union all
            select a.id,
                   case format
                       when 'jsonl' then json_strip_nulls(row_to_json(a))::text
                       -- A row's own text form is a line of CSV in parentheses, but for its doubled backslashes. What a spreadsheet would take for a formula
                       -- gets a quote in front of it; what begins with a quote gets one too, so that it can be told apart.
                       else (select replace(substr(r.text, 2, length(r.text) - 2), '\\', '\')
                               from (select row(a.id, a.time, a.database, f.v[1], f.v[2], f.v[3], f.v[4], f.v[5], f.v[6], f.v[7], f.v[8], f.v[9], f.v[10], f.v[11],
                                                f.v[12], f.v[13], a.arguments_bytes, a.arguments_digest, a.queryid, a.mode, f.v[14], f.v[15], f.v[16], a.times,
                                                a.rows, a.bytes, a.changed, a.wal_bytes, a.queue_us, a.run_us, a.answer_us, a.xid, a.committed, a.objects,
                                                a.outcome_id, a.ended, f.v[17], f.v[18])::text
                                       from (select array_agg(regexp_replace(t, '^[=+@\t\r\n''-]', '''\&') order by n)
                                               from unnest(array[a.role, a.principal, a.token_label, a.authentication, a.issuer, a.subject, a.client, a.peer,
                                                                 a.request_id, a.trace, a.method, a.tool, a.arguments, a.outcome, a.sqlstate, a.rule, a.statement, a.normalised])
                                                    with ordinality u (t, n)) f (v)) r (text)) end
              from mcp.audit a
             -- CASE, since COALESCE would not be let through into the view, and every day of the trail would be read.
             where a.time >= case when "from" is null then '-infinity' else "from" end and a.time < case when "to" is null then 'infinity' else "to" end
           ) l
     order by l.id
$$;
comment on function mcp.audit_export(text, timestamptz, timestamptz) is
'The rows of mcp.audit from a time to another, else of the last 24 hours, as lines in the order of their ids: ''jsonl'', a JSON object a line without the keys that are null, or
''csv'' (RFC 4180, header first; in texts a single quote is put before a leading = + - @ tab, line break or single quote: take it away when reading). Times are UTC.
psql -At -v FETCH_COUNT=1000 -c "select mcp.audit_export(''jsonl'', ''2026-11-24'', ''2026-11-25'')" > file';
