-- Owns: the tool list_settings.
-- Runs: as the caller. PostgreSQL leaves out what is shown with pg_read_all_settings alone.
-- Must not: show the value of a setting whose name says that it may hold a secret.

create function mcp._secret_setting(name text) returns boolean
language sql immutable strict
set search_path = pg_catalog, pg_temp
as $$
    select name ~* '(secret|passw|passphrase|credential|api_?key|private_?key|_token$|conninfo)'
           and name !~* '(_file|_encryption|_min|_max|_length|_ttl|_seconds|_supports_reload)$'
$$;
comment on function mcp._secret_setting(text) is '@support Whether a setting may hold a password or key, judged by its name';

create function mcp.list_settings(pattern text default null, changed_only boolean default null, max_settings integer default null,
                                  after text default null) returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    only_changed constant boolean := coalesce(changed_only, pattern is null);
    -- % makes it a pattern of LIKE; else it is a part of the name, in which _ and \ stand for themselves.
    alike constant text := case when pattern ~ '%' then pattern else '%' || replace(replace(pattern, '\', '\\'), '_', '\_') || '%' end;
    items jsonb[];
    names text[];
    near text[];
begin
    -- What this session has set (the function itself sets search_path) tells nothing about the server: the value it would
    -- go back to is shown.
    select array_agg(jsonb_strip_nulls(jsonb_build_object(
               'name', s.name,
               'value', case when mcp._secret_setting(s.name) and s.value <> '' then '(not shown: may hold a secret)'
                             when s.value = s.setting then mcp._shortened(current_setting(s.name)) else mcp._shortened(s.value) end,
               'unit', s.unit,
               'default', case when s.value is distinct from s.boot_val and not mcp._secret_setting(s.name) then mcp._shortened(s.boot_val) end,
               'source', nullif(case when s.source in ('session', 'client', 'interactive') then null else s.source end, 'default'),
               'change', case s.context when 'internal' then 'never' when 'postmaster' then 'restart' when 'sighup' then 'reload'
                                        when 'superuser' then 'session of a superuser' when 'user' then 'session' else 'new session' end,
               'pending_restart', nullif(s.pending_restart, false),
               'file', s.sourcefile || ':' || s.sourceline,
               'description', s.short_desc)) order by s.name),
           array_agg(s.name order by s.name)
      into items, names
      from (select g.*, case when g.source in ('session', 'client', 'interactive') then g.reset_val else g.setting end as value
              from pg_settings g
             where (pattern is null or g.name ilike alike)
               and (after is null or g.name > after)
             order by g.name) s
     where not only_changed
        or s.pending_restart
        or s.value is distinct from s.boot_val and s.source not in ('default', 'override', 'client');
    if items is null and pattern is not null and after is null then
        near := mcp._near(left(btrim(pattern, '%'), 100), array(select g.name from pg_settings g));
    end if;
    return mcp._listed('settings', items, coalesce(max_settings, 100), names)
           || case when cardinality(near) > 0 then jsonb_build_object('perhaps_you_meant', near) else '{}' end
           || case when not pg_has_role(current_user, 'pg_read_all_settings', 'USAGE')
                   then jsonb_build_object('not_visible', mcp._needs('settings for administrators, files and lines', 'pg_read_all_settings'))
                   else '{}' end;
end
$$;
comment on function mcp.list_settings(text, boolean, integer, text) is
'@mcp({"kind": "tool", "features": ["operations"], "title": "List settings",
      "args": {"pattern": "Part of the name, or LIKE pattern with %", "changed_only": "If left out: true without a pattern",
               "max_settings": "100 if left out", "after": "next of the last answer"},
      "output": {"settings": "array", "truncated?": "boolean", "next?": "string", "perhaps_you_meant?": "array", "not_visible?": "string"}})
Lists settings with value, default, source, meaning, and whether a change needs a restart.';
