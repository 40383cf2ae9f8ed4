-- Owns: the seals of the audit trail: how a row is written down to be hashed, how a seal is made, and what pg_dump keeps of it all.
-- Runs: in the keeper process, every second, as the bootstrap superuser; sql/73_audit_verify.sql hashes the same way.
-- Must not: hash anything that depends on a setting of the session: a digest made today is made again years from now, and outside the database.
--
-- The bodies that begin with RETURN are parsed once, here: they have no search_path to pin, and are expanded into the query that reads the rows.

create function mcp._audit_field(t text) returns text
language sql immutable parallel safe
return coalesce(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(
           t collate "C", E'\\', E'\\\\'), E'\b', E'\\b'), E'\f', E'\\f'), E'\n', E'\\n'), E'\r', E'\\r'), E'\t', E'\\t'), E'\x0b', E'\\v'), E'\\N');
comment on function mcp._audit_field(text) is 'A value as COPY writes it in its text format';

-- Not casts, where these depend on TimeZone, DateStyle or bytea_output.
create function mcp._audit_line(r mcp._audit) returns text
language sql stable parallel safe
return pg_catalog.concat_ws(E'\t',
    r.id,
    pg_catalog.translate(pg_catalog.to_json(pg_catalog.timezone('UTC', r.at))::text, 'T"', ' ') operator(pg_catalog.||) '+00',
    mcp._audit_field(r.kind::text),
    coalesce(r.caller::text, E'\\N'),
    coalesce(r.intent::text, E'\\N'),
    mcp._audit_field(r.method),
    mcp._audit_field(r.tool),
    mcp._audit_field(r.request),
    mcp._audit_field(r.trace),
    mcp._audit_field(r.arguments),
    coalesce(r.arguments_bytes::text, E'\\N'),
    coalesce(E'\\\\x' operator(pg_catalog.||) pg_catalog.encode(r.arguments_digest, 'hex'), E'\\N'),
    coalesce(r.queryid::text, E'\\N'),
    case when r.writes then 't' when not r.writes then 'f' else E'\\N' end,
    mcp._audit_field(r.outcome),
    mcp._audit_field(r.sqlstate),
    mcp._audit_field(r.rule),
    coalesce(r.times::text, E'\\N'),
    coalesce(r.rows::text, E'\\N'),
    coalesce(r.bytes::text, E'\\N'),
    mcp._audit_field(r.changed),
    coalesce(r.wal_bytes::text, E'\\N'),
    coalesce(r.queue_us::text, E'\\N'),
    coalesce(r.run_us::text, E'\\N'),
    coalesce(r.answer_us::text, E'\\N'),
    coalesce(r.xid::text, E'\\N'),
    case when r.committed then 't' when not r.committed then 'f' else E'\\N' end,
    mcp._audit_field(r.objects),
    coalesce(pg_catalog.translate(pg_catalog.to_json(pg_catalog.timezone('UTC', r.ended))::text, 'T"', ' ') operator(pg_catalog.||) '+00', E'\\N'));
comment on function mcp._audit_line(mcp._audit) is
    'A row of the audit trail as COPY (select * from mcp._audit) TO writes it where TimeZone is UTC and DateStyle ISO, without the newline';

create function mcp._audit_digest(r mcp._audit) returns bytea
language sql stable parallel safe
return pg_catalog.sha256(pg_catalog.convert_to(mcp._audit_line(r), 'UTF8'));
comment on function mcp._audit_digest(mcp._audit) is 'The SHA-256 of a row''s line, which is what seals cover';

create function mcp._audit_caller_id(c mcp._audit_callers) returns uuid
language sql stable parallel safe
return pg_catalog.encode(pg_catalog.substr(pg_catalog.sha256(pg_catalog.convert_to(pg_catalog.concat_ws(E'\t',
    mcp._audit_field(c.role), mcp._audit_field(c.principal), mcp._audit_field(c.label), mcp._audit_field(c.authentication),
    mcp._audit_field(c.issuer), mcp._audit_field(c.subject), mcp._audit_field(c.client), mcp._audit_field(c.peer)), 'UTF8')), 1, 16), 'hex')::uuid;
comment on function mcp._audit_caller_id(mcp._audit_callers) is 'The name that a caller''s row has by its content';

create function mcp._audit_seal_hash(s mcp._audit_seals) returns bytea
language sql immutable parallel safe
return pg_catalog.sha256(s.previous
    operator(pg_catalog.||) pg_catalog.int8send(s.number) operator(pg_catalog.||) pg_catalog.int8send(s.first_id)
    operator(pg_catalog.||) pg_catalog.int8send(s.last_id)
    operator(pg_catalog.||) pg_catalog.int8send(case when pg_catalog.isfinite(s.sealed_at) then (extract(epoch from s.sealed_at) operator(pg_catalog.*) 1000000)::bigint end)
    operator(pg_catalog.||) s.body);
comment on function mcp._audit_seal_hash(mcp._audit_seals) is 'The hash that a seal must have';

create unique index _audit_seals_first on mcp._audit_seals (first_id);
comment on index mcp._audit_seals_first is 'Finds the seal of a row';

-- Apart from mcp._audit_head, which every call that may write waits for.
create table mcp._audit_sealed (
    only_row boolean primary key default true check (only_row),
    number bigint not null,
    last_id bigint not null,
    hash bytea not null,
    purge_id bigint
);
comment on table mcp._audit_sealed is 'How far the trail is sealed: should the newest seal be taken away, this still says that it was there';
comment on column mcp._audit_sealed.only_row is 'There is one row';
comment on column mcp._audit_sealed.number is 'Number of the newest seal; 0: there is none yet';
comment on column mcp._audit_sealed.last_id is 'Last row that it covers';
comment on column mcp._audit_sealed.hash is 'Its hash; 32 zero bytes if there is none';
comment on column mcp._audit_sealed.purge_id is 'Id of the newest row that records a purge';
comment on constraint _audit_sealed_pkey on mcp._audit_sealed is 'There is one row';
comment on constraint _audit_sealed_only_row_check on mcp._audit_sealed is 'There is one row';
insert into mcp._audit_sealed (number, last_id, hash) values (0, 0, pg_catalog.decode(pg_catalog.repeat('00', 32), 'hex'));

-- What a dump brings stands in for the row that the installation made.
create function mcp._audit_only_row() returns trigger
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    execute format('delete from mcp.%I', tg_table_name);
    return new;
end
$$;
comment on function mcp._audit_only_row() is 'Makes room for the row that pg_restore brings';
create trigger only_row before insert on mcp._audit_head for each row execute function mcp._audit_only_row();
comment on trigger only_row on mcp._audit_head is 'A restored database goes on where the dumped one was';
create trigger only_row before insert on mcp._audit_sealed for each row execute function mcp._audit_only_row();
comment on trigger only_row on mcp._audit_sealed is 'A restored database goes on where the dumped one was';

-- The partitions are not the extension's: pg_dump takes them, with their rows, as any table.
select pg_catalog.pg_extension_config_dump('mcp._audit_callers', '');
select pg_catalog.pg_extension_config_dump('mcp._audit_head', '');
select pg_catalog.pg_extension_config_dump('mcp._audit_seals', '');
select pg_catalog.pg_extension_config_dump('mcp._audit_sealed', '');

create function mcp._audit_seal_json(s mcp._audit_seals) returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $$
    select jsonb_build_object('number', s.number, 'first_id', s.first_id, 'last_id', s.last_id, 'sealed_at', s.sealed_at, 'hash', encode(s.hash, 'hex'))
$$;
comment on function mcp._audit_seal_json(mcp._audit_seals) is 'A seal as the server log has it';

create function mcp._audit_add_seal(seal mcp._audit_seals) returns jsonb
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    -- On from what is remembered and not from the newest seal there is: where that was taken away, the gap stays for all to see.
    update mcp._audit_sealed d set number = d.number + 1, last_id = seal.last_id returning d.number, d.hash into strict seal.number, seal.previous;
    seal.sealed_at := clock_timestamp();
    seal.hash := mcp._audit_seal_hash(seal);
    update mcp._audit_sealed d set hash = seal.hash;
    insert into mcp._audit_seals select seal.*;
    return mcp._audit_seal_json(seal);
end
$$;
comment on function mcp._audit_add_seal(mcp._audit_seals) is 'Appends a seal to the chain, from its rows, marks and body';

create function mcp._audit_seal_table(first bigint, last bigint) returns mcp._audit_seals
language sql stable
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
as $$
    -- A row that is missing gets the mark of none: the seal must be made, and mcp.audit_verify says what is wrong with it.
    with r as materialized (
        select e.id, mcp._audit_digest(e) as digest from mcp._audit e where e.id between first and last
    )
    select null::bigint, first, last, null::timestamptz,
           (select string_agg(coalesce(substr(d.digest, 1, 8), '\x0000000000000000'), '' order by i)
              from generate_series(first, last) i
              left join (select r.id, decode(min(encode(r.digest, 'hex')), 'hex') as digest from r group by r.id) d on d.id = i),
           (select sha256(coalesce(string_agg(r.digest, '' order by r.id, r.digest), '')) from r),
           null::bytea, null::bytea
$$;
comment on function mcp._audit_seal_table(bigint, bigint) is 'The rows, marks and body of a seal over what is in the table';

create function mcp._audit_seal(first bigint, last bigint, marks bytea, body bytea) returns jsonb
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    head mcp._audit_head;
    sealed mcp._audit_sealed;
    seal mcp._audit_seals;
    known bytea;
begin
    if (last >= first and octet_length(marks) = 8 * (last - first + 1) and octet_length(body) = 32) is not true then
        raise exception 'not a seal over rows % to %', first, last
            using errcode = 'invalid_parameter_value', hint = 'marks has 8 bytes for each row, body has 32 bytes.';
    end if;
    select h.* into strict head from mcp._audit_head h for update;
    select d.* into strict sealed from mcp._audit_sealed d;
    if first > sealed.last_id + 1 or last > head.last_id then
        raise exception 'cannot seal rows % to % of the audit trail: sealed are those up to %, and written those up to %', first, last, sealed.last_id, head.last_id
            using errcode = 'object_not_in_prerequisite_state', hint = 'mcp._audit_seal_rest() seals what was written.';
    end if;
    seal.first_id := first;
    seal.last_id := last;
    seal.marks := marks;
    seal.body := body;
    if first <= sealed.last_id then
        -- A purge has sealed what was there. What the writer knows of those rows must be what was sealed.
        select string_agg(substr(s.marks, 1 + 8 * greatest(first - s.first_id, 0)::integer, 8 * (least(last, s.last_id) - greatest(first, s.first_id) + 1)::integer),
                          '' order by s.first_id)
          into known
          from mcp._audit_seals s
         where s.first_id <= last and s.last_id >= first;
        if known is distinct from substr(marks, 1, octet_length(known)) then
            raise exception 'rows % to % of the audit trail were sealed otherwise than they were written', first, least(last, sealed.last_id)
                using errcode = 'data_corrupted', hint = 'Somebody changed them in between: look for who had superuser rights at the time.';
        elsif last <= sealed.last_id then
            return (select mcp._audit_seal_json(s) from mcp._audit_seals s where s.number = sealed.number);
        end if;
        seal := mcp._audit_seal_table(sealed.last_id + 1, last);
        if seal.marks <> substr(marks, 1 + octet_length(known)) then
            -- What was written is not there to be hashed any more: a body that nothing fits, and the marks say which row it is.
            seal.marks := substr(marks, 1 + octet_length(known));
            seal.body := sha256(seal.marks);
        end if;
    end if;
    -- Rows that came otherwise may follow: outcomes of calls that were settled.
    return mcp._audit_add_seal(seal) || jsonb_build_object('more', (select h.last_id > last from mcp._audit_head h));
end
$$;
comment on function mcp._audit_seal(bigint, bigint, bytea, bytea) is
    'Seals rows by the digests that their writer computed, so that one changed since does not fit; run by the keeper process alone';

create function mcp._audit_seal_rest(until bigint default null) returns jsonb
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    most constant bigint := 50000;
    head mcp._audit_head;
    first bigint;
    last bigint;
begin
    -- First of all: from here on nobody adds rows, and the next statement sees those that are there.
    select h.* into strict head from mcp._audit_head h for update;
    select d.last_id + 1 into strict first from mcp._audit_sealed d;
    last := least(head.last_id, until, first + most - 1);
    if last < first then
        return null;
    end if;
    return mcp._audit_add_seal(mcp._audit_seal_table(first, last)) || case when last < least(head.last_id, until) then '{"more": true}' else '{}' end::jsonb;
end
$$;
comment on function mcp._audit_seal_rest(bigint) is
    'Seals the rows that are written and not sealed yet, as they are in the table, or those of them up to one; null if there are none, "more" if not all came under one seal; run by the keeper process alone';
