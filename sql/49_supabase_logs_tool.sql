-- Owns: the tool get_logs, by the name and arguments of the Supabase MCP server.
-- Runs: as the caller; the log itself is opened by functions that a superuser grants by name.
-- Must not: read more than a few megabytes in a call, nor go through a log from its beginning.

create function mcp._log_service(service text) returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    -- Services of a Supabase project, and what they are called in a self-hosted stack.
    others constant jsonb := '{"api": "kong rest", "auth": "auth", "storage": "storage", "realtime": "realtime", "edge-function": "functions",
                               "edge-function-runtime": "functions", "branch-action": null}';
    names constant text[] := array(select jsonb_object_keys(others)) || '{postgres}';
begin
    if service is null or service = 'postgres' then
        return;
    end if;
    if not others ? service then
        raise exception 'there is no service "%"', left(service, 100)
            using errcode = 'invalid_parameter_value', hint = format('Perhaps you meant "%s". Here there are logs of "postgres".',
                                                                     coalesce((mcp._near(left(service, 100), names))[1], 'postgres'));
    end if;
    raise exception 'the logs of service "%" are not in the database', service
        using errcode = 'feature_not_supported',
              hint = 'They are under Logs in the Supabase dashboard'
                     || coalesce('; on a self-hosted stack: docker compose logs ' || (others ->> service), '')
                     || '. Here there are logs of "postgres".';
end
$$;
comment on function mcp._log_service(text) is '@support Raises, and says where to look, if a service''s logs are not those of this server';

create function mcp._log_check() returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    if current_setting('logging_collector') = 'off' then
        raise exception 'this server keeps no log files'
            using errcode = 'object_not_in_prerequisite_state',
                  hint = 'logging_collector is off: what it logs goes to its standard error or to syslog. Look there (journalctl, docker logs),'
                         ' or have an administrator set logging_collector = on and restart the server.';
    end if;
    if not (has_function_privilege('mcp._log_files()', 'EXECUTE') and has_function_privilege('mcp._read_log(text, bigint, integer)', 'EXECUTE')) then
        raise exception 'role "%" may not read the log of the server', current_user
            using errcode = 'insufficient_privilege',
                  hint = format('A log shows statements of all roles and databases. A superuser allows it by: '
                                'grant execute on function mcp._log_files(), mcp._read_log(text, bigint, integer) to %I;', current_user);
    end if;
    if not exists (select from mcp._log_files() f where f.current) then
        raise exception 'there is no log file'
            using errcode = 'object_not_in_prerequisite_state',
                  hint = format('log_destination is %s: only stderr, csvlog and jsonlog go to files.', current_setting('log_destination'));
    end if;
end
$$;
comment on function mcp._log_check() is '@support Raises if there are no log files, or the current user may not read them';

create function mcp.get_logs(service text default 'postgres', iso_timestamp_start text default null, iso_timestamp_end text default null,
                             min_severity text default null, pattern text default null, max_lines integer default 100, before text default null)
returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    most constant integer := least(greatest(coalesce(max_lines, 100), 1), 1000);
    wanted constant integer := mcp._log_severity(min_severity);
    budget bigint := mcp._byte_budget();
    -- What one call reads at most, and at a time.
    left_to_read bigint := 4194304;
    step integer := 262144;
    found jsonb := '[]';
    earliest_time constant timestamptz := mcp._log_time(iso_timestamp_start);
    latest_time constant timestamptz := mcp._log_time(iso_timestamp_end);
    simple constant boolean := coalesce(pattern !~ '["\\[:cntrl:]]', false);
    place text;
    ending bigint;
    beginning bigint;
    earliest bigint;
    item jsonb;
    at timestamptz;
    file record;
    entry record;
begin
    perform mcp._log_service(service);
    if upper(min_severity) !~ '^(DEBUG[1-5]?|LOG|INFO|NOTICE|WARNING|ERROR|FATAL|PANIC)$' then
        raise exception 'there is no severity "%"', left(min_severity, 100)
            using errcode = 'invalid_parameter_value', hint = 'Severities: debug, log, warning, error, fatal, panic.';
    end if;
    if iso_timestamp_start is not null and earliest_time is null or iso_timestamp_end is not null and latest_time is null then
        raise exception 'iso_timestamp_start and iso_timestamp_end must be times' using errcode = 'invalid_datetime_format',
            hint = 'For example 2026-01-31T08:00:00Z.';
    end if;
    perform mcp._log_check();
    if before is not null and (before !~ '^.+:\d{1,18}$'
                               or not exists (select from mcp._log_files() f where f.name = substring(before from '^(.*):\d+$'))) then
        raise exception '"before" must be the "next" of an earlier answer, of a log file that is still there'
            using errcode = 'invalid_parameter_value', hint = 'Call again without it, to begin with the newest entries.';
    end if;

    <<files>>
    for file in
        with files as (
            select f.* from mcp._log_files() f
        ), first as (
            -- The form that tells most, of those that are written.
            select f.name, f.format, f.changed_at from files f
             where case when before is null then f.current else f.name = substring(before from '^(.*):\d+$') end
             order by f.format = 'stderr', f.format desc
             limit 1
        )
        select f.name, f.format, f.bytes, f.name = t.name and before is not null as resumed
          from files f, first t
         where f.format = t.format and (f.changed_at, f.name) <= (t.changed_at, t.name)
         order by f.changed_at desc, f.name desc
    loop
        ending := case when file.resumed then least(file.bytes, substring(before from '\d+$')::bigint) else file.bytes end;
        while ending > 0 loop
            place := file.name || ':' || ending;
            exit files when left_to_read <= 0;
            beginning := greatest(ending - step, 0);
            left_to_read := left_to_read - (ending - beginning);
            earliest := null;
            for entry in
                select e.start, e.ending, e.body from mcp._log_entries(mcp._read_log(file.name, beginning, (ending - beginning)::integer), file.format,
                                                                       beginning > 0) e
                 order by e.start desc
            loop
                earliest := beginning + entry.start;
                -- Formats write quotes, backslashes and line ends in their own ways: what has none is looked for before anything is parsed.
                continue when simple and strpos(lower(entry.body), lower(pattern)) = 0;
                item := mcp._log_entry(entry.body, file.format);
                continue when pattern is not null
                          and not exists (select from jsonb_each_text(item) t where strpos(lower(t.value), lower(pattern)) > 0);
                continue when min_severity is not null and mcp._log_severity(item ->> 'error_severity') < wanted;
                at := mcp._log_time(item ->> 'timestamp');
                continue when at > latest_time;
                if at < earliest_time then
                    -- What comes before is older still.
                    place := null;
                    exit files;
                end if;
                if at is not null then
                    item := item || jsonb_build_object('timestamp', to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'));
                end if;
                select jsonb_object_agg(k.key, case when length(k.value #>> '{}') > 2000
                                                    then to_jsonb(format('%s ... (cut, %s characters)', left(k.value #>> '{}', 2000), length(k.value #>> '{}')))
                                                    else k.value end)
                  into item from jsonb_each(item) k;
                budget := budget - octet_length(item::text);
                if jsonb_array_length(found) = most or budget < 0 and found <> '[]' then
                    place := file.name || ':' || beginning + entry.ending;
                    exit files;
                end if;
                found := found || jsonb_build_array(item);
            end loop;
            -- An entry longer than a step: read more at once, up to what is left; one that is longer than that is passed over.
            if earliest is null and beginning > 0 and step < least(left_to_read, 4194304) then
                step := least(step * 4, 4194304);
            else
                ending := coalesce(earliest, beginning);
                step := 262144;
            end if;
            place := null;
        end loop;
    end loop;
    return jsonb_build_object('result', found)
           || case when place is null then '{}' else jsonb_build_object('truncated', true, 'next', place) end;
end
$$;
comment on function mcp.get_logs(text, text, text, text, text, integer, text) is
'@mcp({"kind": "tool", "features": ["debugging"], "title": "Get logs",
      "args": {"min_severity": "Such as error", "before": "next of the last answer"},
      "output": {"result": "array", "next?": {}}})
Gets server log entries, newest first.';
