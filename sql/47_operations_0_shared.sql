-- Owns: what the tools of operations share: cutting, counting seconds, saying what is missing, filling a page.
-- Runs: as the caller. Statistics of other roles' sessions are shown by PostgreSQL itself to those with pg_read_all_stats alone.
-- Must not: show a query in full, nor guess at what the caller may not see.

create function mcp._sees_all_statistics() returns boolean
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select pg_has_role(current_user, 'pg_read_all_stats', 'USAGE')
$$;
comment on function mcp._sees_all_statistics() is '@support Whether the current user sees what the sessions of all roles do';

create function mcp._needs(what text, role text) returns text
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select format('%s: needs %s; an administrator grants it: grant %s to %I', what, role, role, current_user)
$$;
comment on function mcp._needs(text, text) is '@support The words for what is not visible, and the grant that would show it';

create function mcp._shortened(words text, most integer default 500) returns text
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
    select case when length(words) > most then left(words, most) || format(' ... (cut, %s characters)', length(words)) else words end
$$;
comment on function mcp._shortened(text, integer) is '@support A text of bounded length, which says so if it was longer';

create function mcp._seconds_since(moment timestamptz) returns numeric
language sql stable strict
set search_path = pg_catalog, pg_temp
as $$
    -- Not now(): a session may have begun something after this transaction began.
    select greatest(round(extract(epoch from clock_timestamp() - moment), 1), 0)
$$;
comment on function mcp._seconds_since(timestamptz) is '@support Seconds from a moment until now';

create function mcp._listed(key text, items jsonb[], most integer, nexts text[] default null) returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    with sized as (
        select u.item, u.place, u.next,
               u.place <= mcp._page_size(most)
                   and (u.place = 1 or sum(octet_length(u.item::text)) over (order by u.place) <= mcp._byte_budget()) as fits
          from unnest(items, nexts) with ordinality as u (item, next, place)
         where u.item is not null
    )
    select jsonb_build_object(key, coalesce(jsonb_agg(s.item order by s.place) filter (where s.fits), '[]'))
           || case when bool_and(s.fits) is not false then '{}'
                   else jsonb_strip_nulls(jsonb_build_object(
                            'truncated', true, 'next', (array_agg(s.next order by s.place desc) filter (where s.fits))[1])) end
      from sized s
$$;
comment on function mcp._listed(text, jsonb[], integer, text[]) is
    '@support An answer with the entries that fit on one page; truncated, and where to go on, if there are more';

create function mcp._session(a jsonb) returns jsonb
language sql stable strict
set search_path = pg_catalog, pg_temp
as $$
    -- A row of pg_stat_activity, of which each version has more columns than the last.
    select jsonb_strip_nulls(jsonb_build_object(
               'pid', a -> 'pid',
               'user', a -> 'usename',
               'database', a -> 'datname',
               'application', nullif(a ->> 'application_name', ''),
               'client', case when a ->> 'client_addr' is not null then a ->> 'client_addr' when a ->> 'client_port' = '-1' then 'local socket' end,
               'kind', nullif(a ->> 'backend_type', 'client backend'),
               'leader_pid', a -> 'leader_pid',
               'state', a -> 'state',
               'wait', case when a ->> 'wait_event_type' <> 'Client' or a ->> 'state' = 'active'
                            then concat_ws(': ', a ->> 'wait_event_type', a ->> 'wait_event') end,
               'transaction_seconds', mcp._seconds_since((a ->> 'xact_start')::timestamptz),
               'query_seconds', case when a ->> 'state' = 'active' then mcp._seconds_since((a ->> 'query_start')::timestamptz) end,
               'idle_seconds', case when a ->> 'state' like 'idle%' then mcp._seconds_since((a ->> 'state_change')::timestamptz) end,
               'xmin_age', age((a ->> 'backend_xmin')::xid),
               'query', nullif(mcp._shortened(nullif(a ->> 'query', '<insufficient privilege>')), '')))
$$;
comment on function mcp._session(jsonb) is '@support What a row of pg_stat_activity says about a session, without what is empty';
