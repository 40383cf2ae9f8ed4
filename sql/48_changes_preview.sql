-- Owns: the tool preview_sql: a text is run for real in a subtransaction, looked at, and undone.
-- Runs: as the caller, in a call that may write, with the locks and the time that the text takes.
-- Must not: keep anything. The subtransaction ends by an error of our own, whatever the text did; a text cannot end it by itself, since
-- Postgres refuses transaction commands here. What no transaction undoes is named in the answer (sequences), or is beyond Postgres (what
-- a function does on another server, or to a file).

create function mcp._lint_map() returns jsonb
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    answer jsonb;
begin
    if to_regprocedure('mcp._lints()') is not null and has_function_privilege('mcp._lints()', 'EXECUTE') then
        execute 'select coalesce(jsonb_object_agg(l.cache_key, jsonb_build_object(''name'', l.name, ''level'', l.level, ''detail'', l.detail)), ''{}'')
                   from mcp._lints() l' into answer;
    end if;
    return answer;
end
$$;
comment on function mcp._lint_map() is '@support The lints of the database as it is in this transaction, by their keys; null if there are none to be had';

create function mcp._some(items jsonb, most integer) returns jsonb
language sql immutable strict
set search_path = pg_catalog, pg_temp
as $$
    select coalesce(jsonb_agg(e.item order by e.place), '[]')
      from jsonb_array_elements(items) with ordinality as e (item, place) where e.place <= most
$$;
comment on function mcp._some(jsonb, integer) is '@support The first entries of a list';

create function mcp._object_changes(before jsonb, after jsonb) returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    with paired as (
        select coalesce(b.key, a.key) as key, coalesce(b.kind, a.kind) as kind, b.name as was, a.name as is,
               case when b.key is null then 'created'
                    when a.key is null or (a.image ->> 'attisdropped')::boolean then 'dropped' else 'changed' end as action,
               case when b.key is null then a.parents else b.parents end as parents, coalesce(b.class, a.class) as class,
               b.image as old, a.image as new
          from jsonb_to_recordset(before) as b (key text, kind text, name text, parents text[], class text, image jsonb)
          full join jsonb_to_recordset(after) as a (key text, kind text, name text, parents text[], class text, image jsonb) on a.key = b.key
    ), gone as (
        select array_agg(p.key) filter (where p.action = 'created') as created, array_agg(p.key) filter (where p.action = 'dropped') as dropped,
               array_agg(p.key) filter (where p.action = 'changed' and p.old -> 'relfilenode' <> p.new -> 'relfilenode') as rewritten
          from paired p
    ), merged as (
        -- What is dropped and made again under its name, as ALTER TYPE does with indexes and constraints.
        select p.key, p.kind, p.was, p.is, case when t.key is null then p.action else 'replaced' end as action, p.parents, p.class, p.old, p.new
          from paired p
          left join paired t on t.key <> p.key and t.kind = p.kind and coalesce(t.was, t.is) = coalesce(p.was, p.is)
                            and (t.action, p.action) in (('created', 'dropped'), ('dropped', 'created'))
         where t.key is null or p.action = 'created'
    ), said as (
        select p.*, case when p.action = 'changed' then mcp._differences(p.class, p.old, p.new) end as changes
          from merged p
         cross join gone g
         -- A table that comes or goes is told once, and not column by column.
         where not coalesce(p.parents && case p.action when 'created' then g.created when 'dropped' then g.dropped
                                                       else g.created || g.dropped || case p.class when 'pg_class' then g.rewritten end end, false)
    )
    select coalesce(jsonb_agg(
               jsonb_build_object('action', s.action, 'kind', coalesce(s.kind, substr(s.class, 4)), 'name', coalesce(s.was, s.is))
               || case when s.action = 'changed' and s.is <> s.was then jsonb_build_object('now', s.is) else '{}' end
               || case when cardinality(s.changes) > 0 then jsonb_build_object('changes', s.changes) else '{}' end
               order by array_position('{dropped,replaced,changed,created}', s.action), s.kind, coalesce(s.was, s.is) collate "C"), '[]')
      from said s
     where s.action <> 'changed' or cardinality(s.changes) > 0 or s.is <> s.was
$$;
comment on function mcp._object_changes(jsonb, jsonb) is '@support From the catalog rows that were replaced and those that were written: objects created, changed and dropped';

create function mcp._preview(query text, lints boolean, name text default null, version text default null) returns jsonb
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    most constant integer := 200;
    counted constant jsonb := mcp._own_counts();
    locked constant jsonb := (select coalesce(jsonb_object_agg(l.relation, l.strength), '{}') from mcp._own_locks() l);
    top constant xid8 := pg_current_xact_id();
    -- They are made twice, the second time with all locks held: in a large database on demand only.
    large constant boolean := (select count(*) > 2000 from pg_class c where c.relkind in ('r', 'p') and c.relnamespace <> 'pg_catalog'::regnamespace);
    compared constant boolean := coalesce(lints, not large);
    hints constant jsonb := case when compared then mcp._lint_map() end;
    xids xid[];
    finished boolean := false;
    written jsonb; counts jsonb; locks jsonb; sizes jsonb; later_hints jsonb; objects jsonb; replaced jsonb;
    began timestamptz;
    place pg_lsn;
    took numeric;
    wal numeric;
    recorded text;
    answer jsonb;
begin
    if current_setting('lock_timeout') = '0' then
        -- Whoever waits for a lock holds up those who come after him.
        perform set_config('lock_timeout', '5s', true);
    end if;
    place := pg_current_wal_insert_lsn();
    began := clock_timestamp();
    begin
        perform mcp._run_sql(query);
        took := round(extract(epoch from clock_timestamp() - began) * 1000, 1);
        wal := pg_current_wal_insert_lsn() - place;
        xids := mcp._own_xids(top);
        written := (select coalesce(jsonb_agg(to_jsonb(w)), '[]') from mcp._written(xids, false) w);
        counts := mcp._own_counts();
        locks := (select coalesce(jsonb_agg(to_jsonb(l)), '[]') from mcp._own_locks() l);
        sizes := (select coalesce(jsonb_object_agg(l.relation, pg_relation_size(l.relation)), '{}')
                    from mcp._own_locks() l join pg_class c on c.oid = l.relation where c.relkind in ('r', 'm') and l.strength = 8);
        later_hints := case when compared then mcp._lint_map() end;
        if name is not null then
            recorded := mcp._record_migration(name, query, version);
        end if;
        finished := true;
        raise exception 'undo' using errcode = 'MCP00';
    exception when sqlstate 'MCP00' then
        if not finished then
            raise;
        end if;
    end;

    -- From here on all is as it was before.
    xids := array(select x from unnest(xids) x where pg_xact_status(((top::text::bigint / 4294967296) * 4294967296 + x::text::bigint
                         + case when x::text::bigint < top::text::bigint % 4294967296 then 4294967296 else 0 end)::text::xid8) = 'aborted');
    replaced := (select coalesce(jsonb_agg(to_jsonb(w)), '[]') from mcp._written(xids, true) w);
    objects := mcp._object_changes(replaced, written);
    answer := jsonb_build_object(
        'objects', mcp._some(objects, most),
        'rows', (
            select mcp._some(coalesce(jsonb_agg(jsonb_build_object('table', r.name, 'inserted', r.i, 'updated', r.u, 'deleted', r.d) order by r.name), '[]'), most)
              from (select coalesce(mcp._table_name(c.key::oid), (select w ->> 'name' from jsonb_array_elements(written) w where w ->> 'key' = 'pg_class:' || c.key || ':0')) as name,
                           (c.value ->> 0)::bigint - coalesce((counted -> c.key ->> 0)::bigint, 0) as i,
                           (c.value ->> 1)::bigint - coalesce((counted -> c.key ->> 1)::bigint, 0) as u,
                           (c.value ->> 2)::bigint - coalesce((counted -> c.key ->> 2)::bigint, 0) as d
                      from jsonb_each(counts) c) r
             where r.i > 0 or r.u > 0 or r.d > 0),
        'locks', (
            select mcp._some(coalesce(jsonb_agg(jsonb_build_object(
                       'relation', mcp._table_name(c.oid),
                       'mode', upper(btrim(regexp_replace(replace(m.mode, 'Lock', ''), '([A-Z])', ' \1', 'g'))),
                       'blocks', mcp._lock_blocks(l.strength))
                       || case when c.relkind in ('r', 'm') then jsonb_build_object('bytes', pg_table_size(c.oid), 'rows', mcp._row_estimate(c.oid)) else '{}' end
                       order by l.strength desc, mcp._table_name(c.oid)), '[]'), most)
              from jsonb_to_recordset(locks) as l (relation oid, strength integer)
              join pg_class c on c.oid = l.relation
             cross join lateral (select ('{AccessShareLock,RowShareLock,RowExclusiveLock,ShareUpdateExclusiveLock,ShareLock,ShareRowExclusiveLock,ExclusiveLock,AccessExclusiveLock}'::text[])[l.strength]) m (mode)
             where c.relkind not in ('i', 'I', 't', 'S')
               and c.relnamespace not in ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
               and l.strength > coalesce((locked ->> l.relation::text)::integer, 0)),
        'statements', coalesce(nullif(cardinality(mcp._split_sql(query)), 0), 1),
        'duration_ms', took,
        'wal_bytes_of_server', wal);
    answer := answer || jsonb_strip_nulls(jsonb_build_object(
        'rewritten', (
            select jsonb_agg(jsonb_build_object('table', o.name, 'bytes', pg_relation_size(o.oid))
                             || case when (sizes ->> o.oid::text)::bigint = 0 and pg_relation_size(o.oid) > 0 then '{"truncated": true}' else '{}'::jsonb end
                             order by o.name)
              from (select b.name, (b.image ->> 'oid')::oid as oid
                      from jsonb_to_recordset(replaced) as b (key text, name text, class text, image jsonb)
                      join jsonb_to_recordset(written) as a (key text, image jsonb) on a.key = b.key
                     where b.class = 'pg_class' and b.image ->> 'relkind' in ('r', 'm')
                       and a.image -> 'relfilenode' <> b.image -> 'relfilenode') o),
        'lints_appear', mcp._some((select jsonb_agg(l.value order by l.key) from jsonb_each(later_hints) l where not hints ? l.key), most),
        'lints_vanish', mcp._some((select jsonb_agg(l.value order by l.key) from jsonb_each(hints) l where not later_hints ? l.key), most),
        'lints', case when lints is null and large then 'not compared, in a database of more than 2000 tables; "lints": true compares them' end,
        'version', recorded,
        'truncated', case when jsonb_array_length(objects) > most or jsonb_array_length(answer -> 'rows') = most
                            or jsonb_array_length(answer -> 'locks') = most then true end,
        'not_undone', (
            select jsonb_agg('sequence ' || mcp._table_name(c.oid) || ' has moved: nextval and setval are never rolled back' order by mcp._table_name(c.oid))
              from jsonb_to_recordset(locks) as l (relation oid, strength integer)
              join pg_class c on c.oid = l.relation
             where c.relkind = 'S' and l.strength = 3)));
    return answer;
end
$$;
comment on function mcp._preview(text, boolean, text, text) is
    '@support Runs a text of the current user''s in a subtransaction, reports what it did, and undoes it; with a name also tries to record it as a migration';

create function mcp.preview_sql(query text, lints boolean default null) returns jsonb
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    perform mcp._check_may_write('preview_sql', query);
    return mcp._preview(query, lints);
end
$$;
comment on function mcp.preview_sql(text, boolean) is
'@mcp({"kind": "tool", "features": ["changes"], "sql": true, "title": "Preview SQL", "annotations": {"destructiveHint": false, "idempotentHint": true},
      "args": {"query": "One or more statements", "lints": "Compare lints; if left out, unless over 2000 tables"},
      "output": {"objects": "array", "rows": "array", "locks": "array", "statements": "integer", "duration_ms": "number",
                 "wal_bytes_of_server": "number", "rewritten?": "array", "lints_appear?": "array", "lints_vanish?": "array", "lints?": "string",
                 "not_undone?": "array", "truncated?": "boolean"}})
Runs SQL, reports what it changes, locks and rewrites, and undoes it. Use it before DDL or a large change. It holds the locks while it runs.';
