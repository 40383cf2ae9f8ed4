-- Owns: how a piece of a log file becomes entries: where each begins, and what it says.
-- Runs: as the caller of get_logs, on bytes that mcp._read_log gave.
-- Must not: fail on anything that stands in a log.

create function mcp._log_entries(piece bytea, format text, within boolean) returns table (start bigint, ending bigint, body text)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    content text;
    escaped boolean := false;
begin
    -- A log may hold bytes of databases in other encodings. Escaped, they take more places than they had in the file.
    begin
        content := convert_from(piece, getdatabaseencoding());
    exception when others then
        content := encode(piece, 'escape');
        escaped := true;
    end;
    return query
        with lines as (
            select u.line, u.n,
                   1 + case when escaped then octet_length(decode(u.line, 'escape')) else octet_length(u.line) end as bytes,
                   case format
                       when 'jsonlog' then u.line ~ '^\{"'
                       when 'csvlog' then u.line ~ '^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} [^,"]{1,40},'
                       else u.line !~ '^\t' and u.line ~ '\m[[:alpha:]]+\d?:  '
                            and u.line !~ '^[^\t]*?\m(DETAIL|HINT|QUERY|CONTEXT|LOCATION|STATEMENT|BACKTRACE):  '
                   end as looks,
                   length(u.line) - length(replace(u.line, '"', '')) as quotes
              from string_to_table(content, E'\n') with ordinality as u (line, n)
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
language plpgsql stable strict
set search_path = pg_catalog, pg_temp
as $$
declare
    label text := 'event_message';
    found jsonb := '{}';
    prefix text;
    stamp text;
    line text;
    part text[];
begin
    foreach line in array string_to_array(body, E'\n') loop
        part := regexp_match(line, '^(.*?)\m([[:alpha:]]+\d?):  (.*)$');
        if line like E'\t%' or part is null then
            found := jsonb_set(found, array[label], to_jsonb(concat_ws(E'\n', found ->> label, ltrim(line, E'\t'))));
        elsif part[2] in ('DETAIL', 'HINT', 'QUERY', 'CONTEXT', 'LOCATION', 'STATEMENT', 'BACKTRACE') then
            label := case part[2] when 'STATEMENT' then 'query' when 'QUERY' then 'internal_query' else lower(part[2]) end;
            -- The expression prefers the shortest, and so does its end.
            found := jsonb_set(found, array[label], to_jsonb(substr(line, length(part[1]) + length(part[2]) + 4)));
        else
            prefix := part[1];
            found := found || jsonb_build_object('error_severity', part[2], label, substr(line, length(part[1]) + length(part[2]) + 4));
        end if;
    end loop;
    -- log_line_prefix is whatever the server's administrator wants. A time and "[pid]" are recognised, the rest is given as it is.
    stamp := substring(prefix from '\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?(?: (?:[A-Z]{1,5}|[+-]\d\d(?::?\d\d)?)\M)?');
    return jsonb_strip_nulls(found || jsonb_build_object(
               'timestamp', stamp,
               'process_id', substring(prefix from '\[(\d+)\]')::bigint,
               'prefix', nullif(regexp_replace(btrim(replace(regexp_replace(prefix, '\[\d+\]', ''), coalesce(stamp, ''), '')), '\s+', ' ', 'g'), '')));
end
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
