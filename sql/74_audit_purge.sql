-- Owns: retention of the audit trail: the view of its partitions, and mcp.audit_purge, which drops those of days gone by.
-- Runs: in the sessions of administrators, never in a call of the MCP server.
-- Must not: drop what is not sealed or does not fit its seal: what was tampered with would be gone with its proof.
--
-- The seals stay, so the chain still holds. A row may be recorded after others of the next day, so a seal can lose some of its rows and keep some. The
-- record of a purge says, for the whole trail as it then is, which seals have no rows left, and of the others the hash of what they have left. That
-- record is itself a sealed row, and the newest one alone counts: older ones may be purged with their day.

create function mcp._audit_partitions(out name text, out starts timestamptz, out ends timestamptz, out rows bigint, out bytes bigint) returns setof record
language sql stable
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
as $$
    select c.relname, b.bounds[1]::timestamptz, b.bounds[2]::timestamptz, nullif(c.reltuples, -1)::bigint, pg_total_relation_size(c.oid)
      from pg_inherits i
      join pg_class c on c.oid = i.inhrelid
     cross join lateral (select regexp_match(pg_get_expr(c.relpartbound, c.oid), '^FOR VALUES FROM \(''([^'']+)''\) TO \(''([^'']+)''\)$') as bounds) b
     where i.inhparent = 'mcp._audit'::regclass
     order by b.bounds
$$;
comment on function mcp._audit_partitions() is 'The partitions of the audit trail, their bounds written out whatever the session''s DateStyle';

create view mcp.audit_partitions as
    select p.name, p.starts, p.ends, p.rows, p.bytes from mcp._audit_partitions() p;
comment on view mcp.audit_partitions is 'The partitions of the audit trail, one for each day; mcp.audit_purge drops the oldest';
comment on column mcp.audit_partitions.name is 'Name of the table, in schema mcp';
comment on column mcp.audit_partitions.starts is 'Time of the first row that it can hold';
comment on column mcp.audit_partitions.ends is 'The first time that is not in it any more';
comment on column mcp.audit_partitions.rows is 'How many rows it has, as of its last ANALYZE or VACUUM; null before the first';
comment on column mcp.audit_partitions.bytes is 'Space that it takes on disk, with its indexes';

create function mcp._audit_purge_state(first_seal bigint, last_seal bigint, until timestamptz, inout gone int8multirange, inout partial jsonb)
language plpgsql stable
set search_path = pg_catalog, pg_temp
set jit = off
as $$
declare
    first_id constant bigint := (select s.first_id from mcp._audit_seals s where s.number = first_seal);
    last_id constant bigint := (select s.last_id from mcp._audit_seals s where s.number = last_seal);
    kept record;
begin
    with k as (
        select mcp._audit_seal_of(e.id) as number, e.id, mcp._audit_digest(e) as digest
          from mcp._audit e where e.id between first_id and last_id and e.at >= until
    ), s as (
        select s.number, count(*) < s.last_id - s.first_id + 1 as torn, encode(sha256(string_agg(k.digest, '' order by k.id)), 'hex') as rest
          from k join mcp._audit_seals s on s.number = k.number
         group by s.number
    )
    select coalesce(range_agg(int8range(s.number, s.number, '[]')), '{}') as seals, coalesce(jsonb_object_agg(s.number, s.rest) filter (where s.torn), '{}') as torn
      into kept from s;
    gone := gone + int8multirange(int8range(first_seal, last_seal, '[]')) - kept.seals;
    partial := coalesce((select jsonb_object_agg(o.key, o.value) from jsonb_each(partial) o where o.key::bigint not between first_seal and last_seal), '{}') || kept.torn;
end
$$;
comment on function mcp._audit_purge_state(bigint, bigint, timestamptz, int8multirange, jsonb) is
    'The seals without rows and the hashes of what is left to others, once the rows before a time are gone; all of those are of seals in this range';

create function mcp._audit_log_purge() returns trigger
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    raise log 'supabase_mcp audit: seal % over rows up to %: %', new.number, new.last_id, encode(new.hash, 'hex');
    return null;
end
$$;
comment on function mcp._audit_log_purge() is 'Writes the seal over the record of a purge to the server log';
-- At the commit: the log must not say of a seal that was undone.
create constraint trigger log_purge after update of purge_id on mcp._audit_sealed deferrable initially deferred
    for each row execute function mcp._audit_log_purge();
comment on trigger log_purge on mcp._audit_sealed is 'A purge seals its own record, and the keeper process does not know of that seal';
comment on constraint log_purge on mcp._audit_sealed is 'It waits for the commit';

-- Why this is SECURITY DEFINER: the partitions belong to a superuser, so that nobody else can change a row of them, and only an owner may drop a table.
-- Whoever is granted this can let days go that are over, whole and for all to see, and nothing else.
create function mcp.audit_purge(before timestamptz, out partitions text[], out rows bigint, out first_id bigint, out last_id bigint, out record bigint)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
set lock_timeout = '1s'
-- A vacuum that is at one of the tables gives way when it is found to block, which is looked for after this time.
set deadlock_timeout = '200ms'
set default_tablespace = ''
set default_table_access_method = 'heap'
set quote_all_identifiers = off
set jit = off
as $$
declare
    nothing constant bytea := '\x0000000000000000';
    until timestamptz;
    purged record;
    verdict mcp.audit_verdict;
    first_seal bigint;
    last_seal bigint;
    seal jsonb;
begin
    if mcp.current_caller() is not null then
        raise exception 'the audit trail is not purged by a call that it records'
            using errcode = 'insufficient_privilege', hint = 'Connect to the database and call mcp.audit_purge there.';
    elsif before is null or before > now() then
        raise exception 'before must be a time that has come' using errcode = 'invalid_parameter_value', hint = 'For example: mcp.audit_purge(now() - interval ''90 days'')';
    end if;
    select coalesce(array_agg(p.name order by p.starts), '{}'), max(p.ends) into partitions, until from mcp._audit_partitions() p where p.ends <= before;
    rows := 0;
    if partitions = '{}' then
        return;
    end if;

    -- One purge at a time; what writes seals goes on.
    lock table mcp._audit_seals in share update exclusive mode;
    select min(e.id), max(e.id), count(*) into first_id, last_id, rows from mcp._audit e where e.at < until;
    if last_id > (select d.last_id from mcp._audit_sealed d) then
        raise exception 'row % of the audit trail is of that time and is not sealed yet', last_id
            using errcode = 'object_not_in_prerequisite_state',
                  hint = 'The server seals every second while it serves this database: make any MCP call to it, and purge again a few seconds later.';
    end if;
    select p.* into purged from mcp._audit_purged() p;
    if rows > 0 then
        verdict := mcp.audit_verify_ids(first_id, last_id);
    elsif purged.seal is not null then
        verdict := mcp._audit_check(purged.seal, purged.seal);
    end if;
    if not verdict.ok or purged.id is not null and not purged.readable then
        raise exception 'the audit trail does not fit its seals: %', coalesce(verdict.problem, 'there is no record of the last purge')
            using errcode = 'data_corrupted', hint = 'Purged, it could not be looked into any more: see mcp.audit_verify() first.';
    end if;
    if rows > 0 then
        first_seal := mcp._audit_seal_of(first_id);
        last_seal := mcp._audit_seal_of(last_id);
        select s.gone, s.partial into purged.gone, purged.partial from mcp._audit_purge_state(first_seal, last_seal, until, purged.gone, purged.partial) s;
        update mcp._audit_seals s set marks = null
         where s.number between first_seal and last_seal and s.number <@ purged.gone and s.marks is not null;
        update mcp._audit_seals s
           set marks = (select string_agg(coalesce(substr(k.digest, 1, 8), nothing), '' order by i)
                          from generate_series(s.first_id, s.last_id) i
                          left join (select e.id, mcp._audit_digest(e) as digest
                                       from mcp._audit e where e.at >= until and e.id between s.first_id and s.last_id) k on k.id = i)
         where s.number between first_seal and last_seal and purged.partial ? s.number::text;
    end if;

    -- From here on calls that may write wait, until the end of the transaction: not for long, should it be left open.
    if current_setting('idle_in_transaction_session_timeout')::interval not between interval '1 ms' and interval '5 s' then
        perform set_config('idle_in_transaction_session_timeout', '5s', true);
    end if;
    record := mcp._audit_begin(1, '[]', clock_timestamp(), clock_timestamp());
    if exists (select from mcp._audit e where e.at < until and e.id > coalesce(audit_purge.last_id, 0)) then
        raise exception 'a call of that time was recorded just now' using errcode = 'object_in_use', hint = 'Purge again.';
    end if;
    insert into mcp._audit (id, at, kind, method, arguments, writes, rows)
    values (record, clock_timestamp(), 'e', 'purge',
            jsonb_build_object('before', before, 'until', until, 'partitions', partitions, 'first_id', first_id, 'last_id', last_id, 'rows', rows,
                               'session_user', session_user, 'role', current_setting('role'), 'seals', purged.gone, 'partial', purged.partial),
            true, audit_purge.rows);
    loop
        seal := mcp._audit_seal_rest();
        exit when seal -> 'more' is null;
    end loop;
    update mcp._audit_sealed d set purge_id = record;
    lock table only mcp._audit in access exclusive mode;
    execute (select format('drop table %s', string_agg(format('mcp.%I', p), ', ')) from unnest(partitions) p);
exception when lock_not_available or deadlock_detected then
    raise exception 'the audit trail is in use, and calls that may write do not wait for longer than a second'
        using errcode = 'lock_not_available', hint = 'Nothing was purged: try again when nobody reads it. pg_locks shows who holds mcp._audit or its partitions.';
end
$$;
comment on function mcp.audit_purge(timestamptz) is
    'Drops the partitions of the audit trail that end before a time, and records that; the seals stay. Run it by itself: what calls that may write wait for is held until the end of the transaction';
