-- Owns: how rows get into the audit trail: their numbers, the partition of their day, and what becomes of an intent whose call never came to its end.
-- Runs: in the keeper process, as the bootstrap superuser, in the transaction that writes a batch; never on a standby.
-- Must not: be executable by anybody else, or wait long: calls that may write wait for it.

create function mcp._audit_partition(day date) returns void
language plpgsql volatile strict
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    name constant text := to_char(day, '"_audit_"YYYYMMDD');
    owner constant oid := (select c.relowner from pg_class c where c.oid = 'mcp._audit'::regclass);
begin
    if to_regclass('mcp.' || name) is not null then
        return;
    end if;
    -- Made apart and then attached: CREATE TABLE ... PARTITION OF would wait for everybody who reads the trail.
    execute format('create table mcp.%I (like mcp._audit)', name);
    execute format('alter table mcp.%I owner to %s', name, owner::regrole);
    -- Whatever default privileges gave.
    execute (select coalesce(string_agg(format('revoke all on mcp.%I from %s', name,
                                               case a.grantee when 0 then 'public' else a.grantee::regrole::text end), '; '), 'select')
               from pg_class c cross join lateral aclexplode(c.relacl) a
              where c.oid = to_regclass('mcp.' || name) and a.grantee <> owner);
    -- Indexes of its own: with those of mcp._audit, a part of the extension, a dump would make each of them twice, and fail to be restored.
    -- Ids and times grow with the table: a block range index costs next to nothing to keep.
    execute format('create index %I on mcp.%I using brin (id, at) with (pages_per_range = 32, autosummarize = on)', name || '_id_at', name);
    execute format('create index %I on mcp.%I (intent) where kind = ''o''', name || '_intent', name);
    execute format('comment on table mcp.%I is %L', name, 'The audit trail of ' || day || ', UTC; mcp.audit_purge drops it');
    execute format('alter table mcp._audit attach partition mcp.%I for values from (%L) to (%L)', name, day::timestamptz, (day + 1)::timestamptz);
end
$$;
comment on function mcp._audit_partition(date) is 'Makes the partition of a day (UTC) unless it is there; run by the keeper process alone';

create function mcp._audit_begin(rows bigint, callers jsonb, first timestamptz, last timestamptz) returns bigint
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    id bigint;
begin
    -- To be on this server's disk is what is promised; a replica may confirm later, where the server would have callers wait for it.
    if current_setting('synchronous_commit') = 'off' then
        perform set_config('synchronous_commit', 'local', true);
    end if;
    update mcp._audit_head h set last_id = h.last_id + _audit_begin.rows returning h.last_id - _audit_begin.rows + 1 into strict id;
    perform mcp._audit_partition(d::date) from generate_series(first::date, last::date, interval '1 day') d;
    insert into mcp._audit_callers
    select c.* from jsonb_populate_recordset(null::mcp._audit_callers, callers) c
        on conflict on constraint _audit_callers_pkey do nothing;
    return id;
end
$$;
comment on function mcp._audit_begin(bigint, jsonb, timestamptz, timestamptz) is
    'Gives the number of the first of so many rows that the same transaction is about to write, and has everything ready for them; run by the keeper process alone';

create function mcp._audit_begin(head jsonb) returns jsonb
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    known record;
    first_id bigint;
begin
    select h.batch, h.batch_first, h.batch_before, h.batch_before_first into strict known from mcp._audit_head h for update;
    if head ->> 'batch' in (known.batch, known.batch_before) then
        return jsonb_build_array(case head ->> 'batch' when known.batch then known.batch_first else known.batch_before_first end, false);
    end if;
    first_id := mcp._audit_begin((head ->> 'rows')::bigint, head -> 'callers', (head ->> 'first')::timestamptz, (head ->> 'last')::timestamptz);
    update mcp._audit_head h set batch = head ->> 'batch', batch_first = first_id, batch_before = known.batch, batch_before_first = known.batch_first;
    return jsonb_build_array(first_id, true);
end
$$;
comment on function mcp._audit_begin(jsonb) is
    'The same for a batch of the gateway''s, which has a name: the id of its first row, and whether it is still to be written; run by the keeper process alone';

create function mcp._audit_xact(xid xid8) returns text
language plpgsql stable strict
set search_path = pg_catalog, pg_temp
as $$
begin
    return pg_xact_status(xid);
exception when invalid_parameter_value then
    -- Not a transaction of this server: the trail came with a dump.
    return null;
end
$$;
comment on function mcp._audit_xact(xid8) is 'pg_xact_status, and null for a transaction that this server has not had';

create function mcp._audit_settle(calls jsonb) returns jsonb
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
declare
    running constant bigint[] := array(select r::bigint from jsonb_array_elements_text(calls -> 'running') r);
    lost constant bigint[] := array(select r::bigint from jsonb_object_keys(calls -> 'left') r);
    -- So many rows are looked through at a time: callers wait for what is locked here.
    most constant bigint := 50000;
    head mcp._audit_head;
    orphan record;
    settled bigint := 0;
    oldest bigint;
    until bigint;
    open boolean := false;
begin
    -- Callers wait for it, as for what mcp._audit_begin writes.
    if current_setting('synchronous_commit') = 'off' then
        perform set_config('synchronous_commit', 'local', true);
    end if;
    select h.* into strict head from mcp._audit_head h for update;
    until := least(head.settled_id + most, head.last_id);
    for orphan in
        select e.id, e.at, mcp._audit_xact(e.xid) as status
          from (select i.id, i.at, i.xid from mcp._audit i where i.id > head.settled_id and i.id <= until and i.kind = 'i'
                 union
                select i.id, i.at, i.xid from mcp._audit i where i.id = any (lost) and i.kind = 'i') e
         where not exists (select from mcp._audit o where o.intent = e.id and o.at = e.at and o.kind = 'o')
         order by e.id
    loop
        -- A process that outlived its gateway may still be at it.
        if orphan.id = any (running) or orphan.status = 'in progress' then
            oldest := least(oldest, orphan.id);
            open := open or orphan.id <> all (running);
            continue;
        end if;
        -- Its day may have been let go meanwhile.
        perform mcp._audit_partition((orphan.at at time zone 'UTC')::date);
        settled := settled + 1;
        insert into mcp._audit (id, at, kind, intent, outcome, rule, committed, ended)
        values (head.last_id + settled, orphan.at, 'o', orphan.id, coalesce(calls -> 'left' ->> orphan.id::text, 'terminated'), 'settled by pg_xact_status', orphan.status = 'committed', clock_timestamp());
    end loop;
    update mcp._audit_head h set last_id = head.last_id + settled, settled_id = least(oldest - 1, until);
    return jsonb_build_object('settled', settled, 'open', open, 'more', until < head.last_id and coalesce(oldest > until, true),
                              'committed', (select coalesce(jsonb_object_agg(l, o.committed), '{}')
                                              from unnest(lost) l
                                              left join mcp._audit i on i.id = l and i.kind = 'i'
                                              left join mcp._audit o on o.intent = i.id and o.at = i.at and o.kind = 'o'
                                             where i.id is null or o.id is not null));
end
$$;
comment on function mcp._audit_settle(jsonb) is
    'Gives an outcome to intents that have none and whose call does not run any more (running: ids of those that do; left: outcomes by id, as far as known), with what its transaction came to. Returns how many; whether some are open that do not run, and whether there is more to look through; and what became of those in left, null if nobody knows. Run by the keeper process alone';
