-- Owns: mcp.audit_changes, the answer to "what did this token change on Tuesday".
-- Runs: in an auditor's session, with the auditor's own rights.
-- Must not: leave out a change because it could not be counted or its call never came to an end.

create function mcp._audit_known(what text, name text, known text[]) returns boolean
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    near text[];
begin
    if name = any (known) then
        return true;
    end if;
    near := mcp._near(left(name, 100), known[:2000]);
    raise exception 'no call in the audit trail was made by % "%"', what, left(name, 100)
        using errcode = 'undefined_object',
              hint = case when cardinality(near) > 0 then format('Perhaps you meant "%s". ', near[1]) else '' end || 'Who called: select * from mcp.audit_callers;';
end
$$;
comment on function mcp._audit_known(text, text, text[]) is 'True, or an error that says which of the known names is like this one';

create function mcp.audit_changes(token text default null, principal text default null, role text default null,
                                  day date default null, "from" timestamptz default null, "to" timestamptz default null)
returns table (id bigint, "time" timestamptz, caller text, token_label text, as_role text, tool text, statement text,
               "table" text, inserted bigint, updated bigint, deleted bigint, outcome text, xid xid8, committed boolean)
language plpgsql stable
set search_path = pg_catalog, pg_temp
set jit = off
as $$
#variable_conflict use_column
declare
    -- The end of a transaction takes less than this of the write-ahead log, the smallest change more.
    bytes_of_a_change constant bigint := 50;
    begins constant timestamptz := coalesce(day::timestamptz, "from", least("to", now()) - interval '24 hours');
    ends constant timestamptz := coalesce((day + 1)::timestamptz, "to", 'infinity');
begin
    if day is not null and ("from" is not null or "to" is not null) then
        raise exception 'either a day or a time, not both'
            using errcode = 'invalid_parameter_value', hint = 'Leave out day, or leave out "from" and "to".';
    elsif begins > ends then
        raise exception 'the time ends before it begins: from % to %', begins, ends
            using errcode = 'invalid_parameter_value', hint = 'Give the earlier one as "from".';
    end if;
    if audit_changes.token is not null then
        perform mcp._audit_known('token', audit_changes.token,
                                 array(select distinct n from mcp.audit_callers c, unnest(array[c.token_label, substr(c.principal, 7)]) n
                                        where starts_with(c.principal, 'token:') and n is not null order by n));
    end if;
    if audit_changes.principal is not null then
        perform mcp._audit_known('principal', audit_changes.principal,
                                 array(select distinct c.principal from mcp.audit_callers c where c.principal is not null order by 1));
    end if;
    if audit_changes.role is not null then
        perform mcp._audit_known('role', audit_changes.role,
                                 array(select c.role from mcp.audit_callers c where c.role is not null union select r.rolname::text from pg_roles r order by 1));
    end if;
    return query
        select a.id, a.time, a.principal, a.token_label, a.role, a.tool, coalesce(a.statement, a.arguments),
               t.key,
               case when t.key is not null then coalesce((t.value ->> 'inserted')::bigint, 0) end,
               case when t.key is not null then coalesce((t.value ->> 'updated')::bigint, 0) end,
               case when t.key is not null then coalesce((t.value ->> 'deleted')::bigint, 0) end,
               a.outcome, a.xid, a.committed
          from mcp.audit a
          left join lateral jsonb_each(a.changed) t on true
         where a.time >= begins and a.time < ends
           and a.mode = 'write' and a.outcome <> 'refused'
           and (audit_changes.token is null
                or starts_with(a.principal, 'token:') and (a.token_label = audit_changes.token or a.principal = 'token:' || audit_changes.token))
           and (audit_changes.principal is null or a.principal = audit_changes.principal)
           and (audit_changes.role is null or a.role = audit_changes.role)
           and (t.key is not null or a.committed is distinct from false and coalesce(a.wal_bytes, bytes_of_a_change) >= bytes_of_a_change)
         order by a.id, t.key collate "C";
end
$$;
comment on function mcp.audit_changes(text, text, text, date, timestamptz, timestamptz) is
'What a token (label or number), principal or role changed on a day of the session''s time zone, or from a time to another; "from" is 24 hours before the end unless it is given:
mcp.audit_changes(token => ''ci-bot'', day => ''2026-11-24''). One row a call and table, by when the call came in. "table" is null where a call may have changed what
nobody counts, such as definitions. "committed" is false where the change was undone, and null while the call runs';
