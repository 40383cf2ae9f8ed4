-- Owns: the server's log files: which there are, and pieces of them.
-- Runs: as the owner of the extension, for a role to which a superuser has granted these two functions by name.
-- Must not: open a file that is not one of the server's logs, or be marked @support: mcp.grant_tools would hand it out.
--
-- Why these two are SECURITY DEFINER: what PostgreSQL itself offers for reading a file, EXECUTE on pg_read_file or pg_read_binary_file, opens the
-- whole data folder, with the password hashes in it. Who is to read the log of the server needs less. Here it gets the log files, named by
-- log_filename in log_directory, and nothing else. A log holds statements of all databases and roles, so nobody has it by default, mcp_admin neither.

create function mcp._log_files(out name text, out bytes bigint, out changed_at timestamptz, out format text, out current boolean)
returns setof record
language sql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
    with pattern as (
        -- What strftime fills in has no dot and no slash; the ending is that of the format.
        select '^' || regexp_replace(regexp_replace(regexp_replace(current_setting('log_filename'), '\.log$', ''),
                                                    '([][\\.^$*+?(){}|])', '\\\1', 'g'), '%[A-Za-z]', '[^./]+', 'g')
               || case when current_setting('log_filename') like '%.log' then '\.(log|csv|json)$' else '(\.csv|\.json)?$' end as expression
    )
    select l.name, l.size, l.modification, k.format,
           regexp_replace(coalesce(pg_current_logfile(k.format), ''), '^.*/', '') = l.name
      from pg_ls_logdir() l
     cross join lateral (select case substring(l.name from '[^.]*$') when 'csv' then 'csvlog' when 'json' then 'jsonlog' else 'stderr' end as format) k
     where l.name ~ (select p.expression from pattern p)
$$;
comment on function mcp._log_files() is 'Log files of the server. For get_logs; a superuser grants it together with mcp._read_log';

create function mcp._read_log(file text, start bigint, length integer) returns bytea
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    if not exists (select from mcp._log_files() f where f.name = file) then
        raise exception 'there is no log file "%"', left(file, 200) using errcode = 'undefined_file';
    end if;
    return pg_read_binary_file(current_setting('log_directory') || '/' || file, greatest(start, 0), least(greatest(length, 0), 4194304));
end
$$;
comment on function mcp._read_log(text, bigint, integer) is 'A piece of a log file of the server. For get_logs; a superuser grants it together with mcp._log_files';
