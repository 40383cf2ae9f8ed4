-- Owns: the tools cancel_query and terminate_session.
-- Runs: as the caller: PostgreSQL decides who may signal whom (one's own roles, pg_signal_backend; superusers' sessions only superusers).
-- Must not: reach the call itself, the gateway or another process that is no session.

create function mcp._signalled(pid integer, verb text) returns jsonb
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    a record;
begin
    select s.*, (select r.rolsuper from pg_roles r where r.oid = s.usesysid) as super,
           mcp._sees_all_statistics() or coalesce(pg_has_role(s.usesysid, 'USAGE'), false) as visible
      into a
      from pg_stat_activity s
     where s.pid = _signalled.pid;
    if not found then
        raise exception 'there is no session with pid %', coalesce(pid::text, 'null')
            using errcode = 'undefined_object', hint = 'It may have ended by itself. Call list_activity for the sessions there are.';
    elsif pid = pg_backend_pid() then
        raise exception 'process % is the one that runs this very call', pid
            using errcode = 'invalid_parameter_value', hint = 'Name another session; list_activity does not list this one.';
    elsif a.backend_type in ('supabase_mcp gateway', 'supabase_mcp keeper') then
        raise exception 'process % belongs to this MCP server itself (%)', pid, a.backend_type
            using errcode = 'invalid_parameter_value',
                  hint = 'Signal the sessions that list_activity lists. An administrator stops the MCP server with mcp.off().';
    elsif a.datid is null and not exists (select from pg_stat_replication w where w.pid = a.pid) then
        raise exception 'process % is no session but a part of the server%', pid, coalesce(' (' || a.backend_type || ')', '')
            using errcode = 'invalid_parameter_value', hint = 'Signal the sessions that list_activity lists.';
    end if;
    begin
        if verb = 'cancel' then
            if a.visible and a.state like 'idle%' then
                return jsonb_build_object('signalled', false, 'session', mcp._session(to_jsonb(a)),
                                          'note', 'The session runs no query, so there is nothing to cancel. terminate_session would end it and its transaction.');
            end if;
            if pg_cancel_backend(pid) then
                return jsonb_build_object('signalled', true, 'session', mcp._session(to_jsonb(a)));
            end if;
        elsif pg_terminate_backend(pid) then
            return jsonb_build_object('signalled', true, 'session', mcp._session(to_jsonb(a)));
        end if;
    exception when insufficient_privilege then
        raise exception 'you may not signal session %, which belongs to %', pid,
                        coalesce(case when a.super then 'superuser ' else 'role ' end || quote_ident(a.usename), 'the server itself')
            using errcode = 'insufficient_privilege',
                  hint = case when a.super or a.usesysid is null then 'Only a superuser may; ask an administrator.'
                              else format('You may signal sessions of your own roles. For others an administrator grants: grant pg_signal_backend to %I;', current_user) end;
    end;
    raise exception 'session % ended before it could be signalled', pid
        using errcode = 'undefined_object', hint = 'Nothing is left to do. Call list_activity for the sessions there are.';
end
$$;
comment on function mcp._signalled(integer, text) is
    '@support Cancels or terminates a session and reports what it was; raises in clear words for what is no session, or not the current user''s to signal';

create function mcp._wait_for_end(pid integer, started timestamptz, query_started timestamptz) returns boolean
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    until constant timestamptz := clock_timestamp() + interval '2 seconds';
begin
    loop
        perform pg_stat_clear_snapshot();
        if not exists (select from pg_stat_activity a
                        where a.pid = _wait_for_end.pid
                          and a.backend_start is not distinct from started
                          and (query_started is null or a.state = 'active' and a.query_start = query_started)) then
            return true;
        end if;
        exit when clock_timestamp() >= until;
        perform pg_sleep(0.01);
    end loop;
    return false;
end
$$;
comment on function mcp._wait_for_end(integer, timestamptz, timestamptz) is
    '@support Waits up to two seconds for the end of a session, or of the query it runs, and says whether it came';

create function mcp.cancel_query(pid integer) returns jsonb
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    started timestamptz;
    query_started timestamptz;
    answer jsonb;
begin
    select a.backend_start, a.query_start into started, query_started from pg_stat_activity a where a.pid = cancel_query.pid;
    answer := mcp._signalled(pid, 'cancel');
    -- Without the right to see the query's start its end cannot be seen either.
    if (answer ->> 'signalled')::boolean and query_started is not null then
        answer := answer || jsonb_build_object('ended', mcp._wait_for_end(pid, started, query_started));
    end if;
    return answer;
end
$$;
comment on function mcp.cancel_query(integer) is
'@mcp({"kind": "tool", "features": ["operations"], "title": "Cancel a query", "annotations": {"destructiveHint": true},
      "args": {"pid": "Of list_activity or list_locks"},
      "output": {"signalled": "boolean", "session": "object", "ended?": "boolean", "note?": "string"}})
Cancels the query that a session runs; the session stays, its transaction fails. Try it before terminate_session.';

create function mcp.terminate_session(pid integer) returns jsonb
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    started timestamptz;
    answer jsonb;
begin
    select a.backend_start into started from pg_stat_activity a where a.pid = terminate_session.pid;
    answer := mcp._signalled(pid, 'terminate');
    -- Where the start may not be seen it is null before and after, and the end shows all the same.
    return answer || jsonb_build_object('ended', mcp._wait_for_end(pid, started, null));
end
$$;
comment on function mcp.terminate_session(integer) is
'@mcp({"kind": "tool", "features": ["operations"], "title": "Terminate a session", "annotations": {"destructiveHint": true},
      "args": {"pid": "Of list_activity or list_locks"},
      "output": {"signalled": "boolean", "session": "object", "ended": "boolean"}})
Ends a session and rolls back its transaction. Use it where cancel_query does not help, such as for a session idle in transaction.';
