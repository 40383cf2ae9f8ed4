-- Owns: how a piece of a log file becomes entries: where each begins, and what it says.
-- Runs: as the caller of get_logs, on bytes that mcp._read_log gave.
-- Must not: fail on anything that stands in a log.

create function mcp._log_line(bytes bytea) returns text
language plpgsql stable strict
set search_path = pg_catalog, pg_temp
as $$
begin
    return convert_from(bytes, getdatabaseencoding());
exception when others then
    -- A question mark for every byte that is not ASCII. Escaping has doubled the backslashes that were there before.
    return replace(regexp_replace(replace(encode(bytes, 'escape'), '\\', chr(1)), '\\[0-7]{3}', '?', 'g'), chr(1), '\');
end
$$;
comment on function mcp._log_line(bytea) is '@support A line of a log as text, also if it is in another encoding';

create function mcp._log_entries(piece bytea, format text, within boolean) returns table (start bigint, ending bigint, body text)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    content text;
    escaped boolean := false;
begin
    -- A log may hold lines of databases in other encodings. If so it is split first, and each line is read by itself.
    begin
        content := convert_from(piece, getdatabaseencoding());
    exception when others then
        content := encode(piece, 'escape');
        escaped := true;
    end;
    return query
        with lines as (
            select u.line, u.n, u.bytes + 1 as bytes,
                   case format
                       when 'jsonlog' then starts_with(u.line, '{"')
                       when 'csvlog' then u.line ~ '^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} [^,"]{1,40},'
                       -- Here the lines that follow are indented, but for those with a word of their own.
                       else case when starts_with(u.line, E'\t') then false
                                 else u.line ~ '\m[[:alpha:]]+\d?:  '
                                      and u.line !~ '^[^\t]*?\m(DETAIL|HINT|QUERY|CONTEXT|LOCATION|STATEMENT|BACKTRACE):  ' end
                   end as looks,
                   length(u.line) - length(replace(u.line, '"', '')) as quotes
              from (select case when t.odd then mcp._log_line(decode(t.line, 'escape')) else t.line end as line, t.n,
                           case when t.odd then octet_length(decode(t.line, 'escape')) else octet_length(t.line) end as bytes
                      from (select s.line, s.n, escaped and strpos(s.line, '\') > 0 as odd
                              from string_to_table(content, E'\n') with ordinality as s (line, n)) t) u
        ), placed as (
            -- What follows the last line end is a line that is still being written, or nothing. A piece ends where an entry does, so a line of a
            -- CSV file is within quotes if the quotes from it to the end are odd: what a statement holds is not taken for an entry.
            select l.line, l.n, l.bytes,
                   (sum(l.bytes) over (order by l.n) - l.bytes)::bigint as place,
                   -- The first line of a piece from within a file may be the end of one.
                   l.looks and (l.n > 1 or not within) and (format <> 'csvlog' or sum(l.quotes) over (order by l.n desc) % 2 = 0) as begins
              from lines l
             where l.n < (select max(m.n) from lines m)
        ), grouped as (
            select p.line, p.n, p.place, p.bytes, count(*) filter (where p.begins) over (order by p.n) as entry from placed p
        )
        select min(g.place), max(g.place + g.bytes)::bigint, string_agg(g.line, E'\n' order by g.n)
          from grouped g
         where g.entry > 0
         group by g.entry
         order by 1;
end
$$;
comment on function mcp._log_entries(bytea, text, boolean) is '@support The entries that begin in a piece of a log file, with their places in it';

create function mcp._log_time(written text) returns timestamptz
language plpgsql stable strict
set search_path = pg_catalog, pg_temp
as $$
begin
    return written::timestamptz;
exception when others then
    return null;
end
$$;
comment on function mcp._log_time(text) is '@support A time as logs write it; null if it cannot be read';

create function mcp._log_severity(word text) returns integer
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
    -- For who reads a log LOG is no more than INFO, whatever log_min_messages makes of it. A word of another language counts as high.
    select case when upper(word) like 'DEBUG%' then 0 when upper(word) in ('LOG', 'INFO', 'NOTICE') then 1 when upper(word) = 'WARNING' then 2
                when upper(word) = 'ERROR' then 3 when upper(word) = 'FATAL' then 4 else 5 end
$$;
comment on function mcp._log_severity(text) is '@support Rank of a severity in a log';

create function mcp._log_stderr_entry(body text) returns jsonb
language sql stable strict
set search_path = pg_catalog, pg_temp
as $$
    with lines as (
        select l.line, l.n, case when starts_with(l.line, E'\t') then null else regexp_match(l.line, '^(.*?)\m([[:alpha:]]+\d?):  ') end as head
          from string_to_table(body, E'\n') with ordinality as l (line, n)
    ), grouped as (
        select l.*, count(l.head) over (order by l.n) as part from lines l
    ), parts as (
        select g.part, min(g.head[1]) as prefix, min(g.head[2]) as word,
               string_agg(case when g.head is null then ltrim(g.line, E'\t') else substr(g.line, length(g.head[1]) + length(g.head[2]) + 4) end,
                          E'\n' order by g.n) as text
          from grouped g
         group by g.part
    ), named as (
        select case when p.part <= 1 then 'event_message' when p.word = 'STATEMENT' then 'query' when p.word = 'QUERY' then 'internal_query'
                    else lower(p.word) end as key,
               string_agg(p.text, E'\n' order by p.part) as text
          from parts p
         group by 1
    )
    -- log_line_prefix is whatever the server's administrator wants. A time and "[pid]" are recognised, the rest is given as it is.
    select (select jsonb_object_agg(n.key, n.text) from named n)
           || (select jsonb_strip_nulls(jsonb_build_object(
                          'error_severity', p.word,
                          'timestamp', t.stamp,
                          'process_id', substring(p.prefix from '\[(\d+)\]')::bigint,
                          'prefix', nullif(regexp_replace(btrim(replace(regexp_replace(p.prefix, '\[\d+\]', ''), coalesce(t.stamp, ''), '')),
                                                          '\s+', ' ', 'g'), '')))
                 from parts p
                cross join lateral (select substring(p.prefix from
                      '\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?(?: (?:[A-Z]{1,5}|[+-]\d\d(?::?\d\d)?)\M)?') as stamp) t
                where p.part = 1)
$$;
comment on function mcp._log_stderr_entry(text) is '@support An entry of a log in text form, as jsonb';

create function mcp._log_entry(body text, format text) returns jsonb
language plpgsql stable strict
set search_path = pg_catalog, pg_temp
as $$
declare
    f text[];
    j jsonb;
begin
    -- Names as in the log of a Supabase project: those of the CSV format.
    if format = 'csvlog' then
        select array_agg(case when m.field[1] like '"%' then replace(substr(m.field[1], 2, length(m.field[1]) - 2), '""', '"')
                              else nullif(m.field[1], '') end order by m.n) into f
          from regexp_matches(body, '("(?:[^"]|"")*"|[^,"]*)(?:,|$)', 'g') with ordinality as m (field, n);
        j := jsonb_build_object('timestamp', f[1], 'user_name', f[2], 'database_name', f[3], 'process_id', f[4]::bigint, 'error_severity', f[12],
                                'sql_state_code', f[13], 'event_message', f[14], 'detail', f[15], 'hint', f[16], 'internal_query', f[17],
                                'context', f[19], 'query', f[20], 'application_name', f[23], 'backend_type', f[24]);
    elsif format = 'jsonlog' then
        j := body::jsonb;
        j := jsonb_build_object('timestamp', j -> 'timestamp', 'user_name', j -> 'user', 'database_name', j -> 'dbname', 'process_id', j -> 'pid',
                                'error_severity', j -> 'error_severity', 'sql_state_code', j -> 'state_code', 'event_message', j -> 'message',
                                'detail', j -> 'detail', 'hint', j -> 'hint', 'internal_query', j -> 'internal_query', 'context', j -> 'context',
                                'query', j -> 'statement', 'application_name', j -> 'application_name', 'backend_type', j -> 'backend_type');
    else
        return mcp._log_stderr_entry(body);
    end if;
    if j ->> 'sql_state_code' = '00000' then
        j := j - 'sql_state_code';
    end if;
    if j ->> 'application_name' = '' then
        j := j - 'application_name';
    end if;
    return jsonb_strip_nulls(j);
exception when others then
    -- Cut or garbled: better as it stands than not at all.
    return jsonb_build_object('event_message', body);
end
$$;
comment on function mcp._log_entry(text, text) is '@support What an entry of a log says, as jsonb, in whatever of the three formats it is';
