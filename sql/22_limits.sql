-- Owns: how much a role, a token or a tool may use: the table of limits, the walls around it, the administrator's functions.
-- Runs: in the sessions of administrators; the keeper process reads the table and tells the gateway, which counts.
-- Must not: let anybody loosen a limit of a role that is not theirs to give, or widen what a setting of the server allows.
--
-- A row is one account: all calls that fit its scope are counted together. Of several rows that fit a call the strictest
-- counts, for each kind of limit by itself.

create table mcp._limits (
    -- regrole and not a name, as in mcp._tokens.
    role regrole,
    token bigint references mcp._tokens on delete cascade,
    tool text check (tool operator(pg_catalog.<>) ''),
    calls_per_minute integer check (calls_per_minute operator(pg_catalog.>) 0),
    burst integer constraint _limits_burst_check check (burst is null or burst operator(pg_catalog.>) 0 and calls_per_minute is not null),
    max_concurrent integer check (max_concurrent operator(pg_catalog.>) 0),
    max_rows integer check (max_rows operator(pg_catalog.>) 0),
    max_bytes integer check (max_bytes operator(pg_catalog.>=) 1024),
    max_seconds double precision check (max_seconds operator(pg_catalog.>=) 0.001 and max_seconds operator(pg_catalog.<=) 86400),
    queue_seconds double precision check (queue_seconds operator(pg_catalog.>=) 0.001 and queue_seconds operator(pg_catalog.<=) 86400),
    read_only boolean not null default false,
    created_at timestamptz not null default pg_catalog.now(),
    created_by name not null default current_user,
    constraint _limits_scope_key unique nulls not distinct (role, token, tool),
    -- A token has its role already.
    constraint _limits_scope_check check (role is null or token is null)
);
comment on table mcp._limits is 'How much a role, a token or a tool may use. Read it through the view mcp.limits, write it with mcp.set_limit';
comment on column mcp._limits.role is 'Role whose calls are meant, by whatever credential; null for any';
comment on column mcp._limits.token is 'Token whose calls are meant; null for any. The row goes with the token';
comment on column mcp._limits.tool is 'Tool whose calls are meant, by its name; null for any, and for the list of tools';
comment on column mcp._limits.calls_per_minute is 'Calls in a minute, on the average; null for no limit';
comment on column mcp._limits.burst is 'Calls that may come at once after a time of rest; null for as many as calls_per_minute';
comment on column mcp._limits.max_concurrent is 'Calls at the same time, those that wait for a process included; null for no limit';
comment on column mcp._limits.max_rows is 'Rows in the answer to one statement; null for no limit but that of the role';
comment on column mcp._limits.max_bytes is 'Bytes of values in the answer to one call; null for no limit but that of the role';
comment on column mcp._limits.max_seconds is 'Time that one call may run; null for no limit but that of the role';
comment on column mcp._limits.queue_seconds is 'Time that a call may wait for a free process; null for no limit but that of the server';
comment on column mcp._limits.read_only is 'Calls are kept read-only whatever the role may do';
comment on column mcp._limits.created_at is 'When the limit was set';
comment on column mcp._limits.created_by is 'Role that set the limit';
comment on constraint _limits_scope_key on mcp._limits is 'One row for one scope, so that setting a limit replaces the earlier one';
comment on constraint _limits_scope_check on mcp._limits is 'A row is about a role or about one token, not both';
comment on constraint _limits_token_fkey on mcp._limits is 'The limits of a token go with it';
comment on constraint _limits_tool_check on mcp._limits is 'Any tool is null, not an empty text';
comment on constraint _limits_calls_per_minute_check on mcp._limits is 'One call or more; to refuse every call, revoke the tools or the token';
comment on constraint _limits_burst_check on mcp._limits is 'A burst is one call or more, and goes with calls_per_minute';
comment on constraint _limits_max_concurrent_check on mcp._limits is 'One call or more; to refuse every call, revoke the tools or the token';
comment on constraint _limits_max_rows_check on mcp._limits is 'One row or more';
comment on constraint _limits_max_bytes_check on mcp._limits is '1024 bytes or more, as supabase_mcp.max_bytes';
comment on constraint _limits_max_seconds_check on mcp._limits is 'From 0.001, a millisecond, to 86400, a day';
comment on constraint _limits_queue_seconds_check on mcp._limits is 'From 0.001, a millisecond, to 86400, a day';

create trigger invalidate after insert or update or delete or truncate on mcp._limits
    for each statement execute function mcp._invalidate();
comment on trigger invalidate on mcp._limits is 'A changed limit counts from the next call on';

-- An administrator sets and drops the limits of the roles that he administers, and of their tokens: nobody's own, and what goes
-- for everybody is a superuser's to say. Dropping is loosening, so it needs the same right, unlike in mcp._tokens. What an
-- administrator must not get past belongs into settings (supabase_mcp.calls_per_minute and the like) or into rows without a role.
create function mcp._may_limit(role oid, token bigint, dropping boolean) returns boolean
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select case
               when l.role is null then false
               -- Rows of a role that is gone limit nobody, and may be cleared away.
               when r.oid is null then dropping
               else pg_has_role(current_user, r.oid, 'MEMBER WITH ADMIN OPTION') and r.oid <> current_user::regrole::oid
           end
      from (select coalesce(_may_limit.role, (select t.role::oid from mcp._tokens t where t.id = _may_limit.token)) as role) l
      left join pg_roles r on r.oid = l.role
$$;
comment on function mcp._may_limit(oid, bigint, boolean) is
    'Whether the current user, if no superuser, may set (or drop) limits of this role, or of this token';

alter table mcp._limits enable row level security;
create policy see on mcp._limits for select to mcp_admin using (true);
comment on policy see on mcp._limits is 'Administrators see every limit';
create policy drop on mcp._limits for delete to mcp_admin using (mcp._may_limit(role::pg_catalog.oid, token, true));
comment on policy drop on mcp._limits is 'A limit may be dropped only by who administers the role';
create policy set on mcp._limits for insert to mcp_admin
    with check (mcp._may_limit(role::pg_catalog.oid, token, false) and created_by operator(pg_catalog.=) current_user);
comment on policy set on mcp._limits is 'A limit may be set only by who administers the role';

-- An administrator with BYPASSRLS passes policies by; see mcp._give.
create function mcp._limit() returns trigger
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    if tg_op = 'INSERT' then
        perform mcp._check_may_limit(new.role, new.token, false);
    -- The limits of a token that is revoked go with it, whoever revokes it.
    elsif old.token is null or exists (select from mcp._tokens t where t.id = old.token) then
        perform mcp._check_may_limit(old.role, old.token, true);
    end if;
    return null;
end
$$;
comment on function mcp._limit() is 'Raises when whoever sets or drops a limit may not; for those whom policies do not bind';
create trigger "limit" after insert or delete on mcp._limits for each row execute function mcp._limit();
comment on trigger "limit" on mcp._limits is 'What the policies say, for an administrator with BYPASSRLS';
alter table mcp._limits enable always trigger "limit", enable always trigger invalidate;

-- Rows of roles that are gone stay out, as those of mcp._tokens do.
select pg_catalog.pg_extension_config_dump('mcp._limits',
    'where (role is null or exists (select from pg_catalog.pg_roles r where r.oid operator(pg_catalog.=) role::pg_catalog.oid))'
    ' and (token is null or exists (select from mcp._tokens t join pg_catalog.pg_roles r on r.oid operator(pg_catalog.=) t.role::pg_catalog.oid'
    ' where t.id operator(pg_catalog.=) token))');

create view mcp.limits with (security_invoker = true) as
    select l.role, l.token, t.label as token_label, l.tool, l.calls_per_minute, coalesce(l.burst, l.calls_per_minute) as burst, l.max_concurrent,
           l.max_rows, l.max_bytes, l.max_seconds, l.queue_seconds, l.read_only, l.created_at, l.created_by
      from mcp._limits l
      left join mcp._tokens t on t.id operator(pg_catalog.=) l.token;
comment on view mcp.limits is 'How much roles, tokens and tools may use; several rows that fit a call all count';
comment on column mcp.limits.role is 'Role whose calls are meant; null for any';
comment on column mcp.limits.token is 'Number of the token whose calls are meant; null for any';
comment on column mcp.limits.token_label is 'What that token is for';
comment on column mcp.limits.tool is 'Tool whose calls are meant; null for any';
comment on column mcp.limits.calls_per_minute is 'Calls in a minute, on the average';
comment on column mcp.limits.burst is 'Calls that may come at once after a time of rest';
comment on column mcp.limits.max_concurrent is 'Calls at the same time';
comment on column mcp.limits.max_rows is 'Rows in the answer to one statement';
comment on column mcp.limits.max_bytes is 'Bytes of values in the answer to one call';
comment on column mcp.limits.max_seconds is 'Time that one call may run';
comment on column mcp.limits.queue_seconds is 'Time that a call may wait for a free process';
comment on column mcp.limits.read_only is 'Whether calls are kept read-only';
comment on column mcp.limits.created_at is 'When the limit was set';
comment on column mcp.limits.created_by is 'Role that set the limit';

create function mcp._check_may_limit(role regrole, token bigint, dropping boolean) returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    -- The policies and the foreign key say the same. This says it in words that tell what to do.
    if role is not null and token is not null then
        raise exception 'a limit is for a role or for a token, not for both'
            using errcode = 'invalid_parameter_value', hint = 'A token has its role already: leave the role out.';
    elsif token is not null and not exists (select from mcp._tokens t where t.id = token) then
        raise exception 'there is no token with the id %', token using errcode = 'undefined_object', hint = 'mcp.tokens lists them.';
    elsif (select r.rolsuper from pg_roles r where r.rolname = current_user) then
        return;
    elsif role is null and token is null then
        raise exception 'permission denied to limit all callers'
            using errcode = 'insufficient_privilege', hint = 'Name a role or a token, or have a superuser do it.';
    elsif not mcp._may_limit(role, token, dropping) then
        raise exception 'permission denied to change the limits of %', coalesce('role ' || role, 'token ' || token)
            using errcode = 'insufficient_privilege',
                  hint = 'A superuser may do this, or a member of mcp_admin with ADMIN OPTION on the role; nobody else for oneself.';
    end if;
end
$$;
comment on function mcp._check_may_limit(regrole, bigint, boolean) is
    'Raises unless the current user may set and drop limits of this role or this token; of neither means of all callers';

create function mcp.set_limit(role regrole default null, token bigint default null, tool text default null,
                              calls_per_minute integer default null, burst integer default null, max_concurrent integer default null,
                              max_rows integer default null, max_bytes integer default null, max_seconds double precision default null,
                              queue_seconds double precision default null, read_only boolean default false) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    broken text;
begin
    perform mcp._check_may_limit(set_limit.role, set_limit.token, false);
    if set_limit.role is not null and not exists (select from pg_roles r where r.oid = set_limit.role) then
        raise exception 'the role does not exist' using errcode = 'undefined_object';
    end if;
    if num_nulls(set_limit.calls_per_minute, set_limit.max_concurrent, set_limit.max_rows, set_limit.max_bytes, set_limit.max_seconds,
                 set_limit.queue_seconds) = 6 and set_limit.read_only is not true then
        raise exception 'there is nothing to limit' using errcode = 'invalid_parameter_value',
            hint = 'Give at least one of calls_per_minute, max_concurrent, max_rows, max_bytes, max_seconds, queue_seconds and read_only;'
                   ' mcp.drop_limit takes a limit away.';
    end if;
    -- Not an upsert: that would need a right to update, and with it a second way to change a limit.
    delete from mcp._limits l
     where l.role is not distinct from set_limit.role
       and l.token is not distinct from set_limit.token
       and l.tool is not distinct from set_limit.tool;
    insert into mcp._limits (role, token, tool, calls_per_minute, burst, max_concurrent, max_rows, max_bytes, max_seconds, queue_seconds, read_only)
    values (set_limit.role, set_limit.token, set_limit.tool, set_limit.calls_per_minute, set_limit.burst, set_limit.max_concurrent,
            set_limit.max_rows, set_limit.max_bytes, set_limit.max_seconds, set_limit.queue_seconds, coalesce(set_limit.read_only, false));
exception when check_violation then
    -- The constraints' comments say what they want.
    get stacked diagnostics broken = constraint_name;
    raise exception 'a value of the limit is out of its range' using errcode = 'invalid_parameter_value',
        hint = (select format('%s: %s.', replace(substr(c.conname, length('_limits_') + 1), '_check', ''), obj_description(c.oid, 'pg_constraint'))
                  from pg_constraint c where c.conrelid = 'mcp._limits'::regclass and c.conname = broken);
end
$$;
comment on function mcp.set_limit(regrole, bigint, text, integer, integer, integer, integer, integer, double precision, double precision, boolean) is
    'Limits what a role or a token may use, all of it or one tool; replaces an earlier limit of the same scope as a whole. Without a role and a token: all callers together';

create function mcp.drop_limit(role regrole default null, token bigint default null, tool text default null) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
begin
    perform mcp._check_may_limit(drop_limit.role, drop_limit.token, true);
    delete from mcp._limits l
     where l.role is not distinct from drop_limit.role
       and l.token is not distinct from drop_limit.token
       and l.tool is not distinct from drop_limit.tool;
    if not found then
        raise exception 'there is no such limit' using errcode = 'undefined_object', hint = 'mcp.limits lists them.';
    end if;
end
$$;
comment on function mcp.drop_limit(regrole, bigint, text) is 'Takes the limit of this scope away, from the next call on';

create function mcp._limits_of(role oid, token bigint) returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select coalesce(jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
                        'of', case when l.role is not null then 'role' when l.token is not null then 'token' else 'all' end,
                        'tool', l.tool,
                        'calls_per_minute', l.calls_per_minute,
                        'burst', coalesce(l.burst, l.calls_per_minute),
                        'max_concurrent', l.max_concurrent,
                        'max_rows', l.max_rows,
                        'max_bytes', l.max_bytes,
                        'max_ms', round(l.max_seconds * 1000),
                        'queue_ms', round(l.queue_seconds * 1000),
                        'read_only', nullif(l.read_only, false))) order by l.role, l.token, l.tool collate "C"), '[]')
      from mcp._limits l
     where (l.role is null or l.role = _limits_of.role)
       and (l.token is null or l.token = _limits_of.token)
$$;
comment on function mcp._limits_of(oid, bigint) is 'The limits that fit calls of a role with a token, or without one';
