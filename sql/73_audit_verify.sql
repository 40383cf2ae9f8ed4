-- Owns: the proof that the audit trail is as it was written: mcp.audit_verify, and what names the first row that does not fit.
-- Runs: in the sessions of auditors, with their own rights (sql/95_grants_seals.sql); mcp.audit_purge asks it first.
-- Must not: change anything, or see two states of the trail: all of it reads by one snapshot.
--
-- The trail proves that it fits together. Who is a superuser could write it anew from some row on, seals and all: then its newest seal is not the
-- one that the server log, kept elsewhere, has under that number.

create type mcp.audit_verdict as (
    ok boolean,
    problem text,
    first_bad_row bigint,
    first_bad_seal bigint,
    seals bigint,
    purged_seals bigint,
    rows bigint,
    unsealed_rows bigint,
    last_seal bigint,
    last_hash text
);
comment on type mcp.audit_verdict is 'What a verification of the audit trail found';
comment on column mcp.audit_verdict.ok is 'Everything that was looked at fits';
comment on column mcp.audit_verdict.problem is 'What does not fit, in words';
comment on column mcp.audit_verdict.first_bad_row is 'The first row that was changed, removed or inserted; null if that cannot be told, or if it is a seal that does not fit';
comment on column mcp.audit_verdict.first_bad_seal is 'The first seal that does not fit, or whose rows do not';
comment on column mcp.audit_verdict.seals is 'Seals that were found good';
comment on column mcp.audit_verdict.purged_seals is 'Those of them whose rows were purged: that they are in their place in the chain is all that is proven';
comment on column mcp.audit_verdict.rows is 'Rows that were found good';
comment on column mcp.audit_verdict.unsealed_rows is 'Rows at the end that no seal covers yet; null if the verification ended before them';
comment on column mcp.audit_verdict.last_seal is 'Number of the newest seal';
comment on column mcp.audit_verdict.last_hash is 'Its hash: what the server log has under that number';

create function mcp._audit_purged(out id bigint, out seal bigint, out readable boolean, out until timestamptz, out gone int8multirange, out partial jsonb)
language plpgsql stable
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
declare
    record jsonb;
begin
    id := (select d.purge_id from mcp._audit_sealed d);
    seal := (select s.number from mcp._audit_seals s where s.first_id <= _audit_purged.id and s.last_id >= _audit_purged.id order by s.first_id desc limit 1);
    begin
        select e.arguments into record from mcp._audit e where e.id = _audit_purged.id and e.kind = 'e' and e.method = 'purge' and seal is not null;
        until := record ->> 'until';
        gone := record ->> 'seals';
        partial := record -> 'partial';
    exception when data_exception then
        record := null;
    end;
    readable := record is not null and until is not null and gone is not null and jsonb_typeof(partial) = 'object';
    if readable is not true then
        gone := '{}';
        partial := '{}';
    end if;
end
$$;
comment on function mcp._audit_purged() is
    'What the newest sealed record of a purge says: every row before that time is gone; all rows of these seals; and what the hash is of the rows left to those';

create function mcp._audit_check_end(good mcp._audit_seals, changed_callers uuid[], out bad_seal bigint, out bad_row bigint, out problem text, out unsealed bigint)
language plpgsql stable
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
declare
    sealed mcp._audit_sealed;
    head mcp._audit_head;
    due bigint;
begin
    select d.* into sealed from mcp._audit_sealed d;
    select h.* into head from mcp._audit_head h;
    if (sealed.number, sealed.last_id, sealed.hash) is distinct from (good.number, good.last_id, good.hash) then
        bad_seal := least(sealed.number, good.number) + 1;
        bad_row := case when sealed.number > good.number then good.last_id + 1 end;
        problem := case
                       when sealed.number > good.number then format('seal %s was removed', bad_seal)
                       when sealed.number < good.number then format('seal %s is newer than the newest one that mcp._audit_sealed remembers, %s', bad_seal, sealed.number)
                       else format('mcp._audit_sealed does not have the hash and the rows of the newest seal, %s', good.number)
                   end;
        return;
    end if;
    -- What is not sealed yet still has ids without gaps, up to the head.
    select r.id, r.due into bad_row, due
      from (select e.id, good.last_id + row_number() over (order by e.id) as due from mcp._audit e where e.id > good.last_id) r
     where r.id <> r.due or r.id > head.last_id
     order by r.due
     limit 1;
    unsealed := (select count(*) from mcp._audit e where e.id > good.last_id);
    if bad_row > head.last_id then
        problem := format('row %s was inserted, or mcp._audit_head was set back: it says that the last row is %s', bad_row, head.last_id);
    elsif bad_row < due then
        problem := format('row %s is there more than once', bad_row);
    elsif bad_row > due or good.last_id + unsealed is distinct from head.last_id then
        bad_row := coalesce(due, good.last_id + unsealed + 1);
        problem := format('row %s was removed, or mcp._audit_head was set forward: it says that the last row is %s', bad_row, head.last_id);
    end if;
    due := (select min(e.id)
              from mcp._audit e left join mcp._audit_callers c on c.id = e.caller
             where e.id > good.last_id and e.caller is not null and (c.id is null or c.id = any (changed_callers)));
    if due < bad_row or bad_row is null and due is not null then
        bad_row := due;
        problem := mcp._audit_caller_problem(due);
    elsif problem is null and changed_callers <> '{}' then
        problem := format('the entry of caller %s was changed', changed_callers[1]);
    end if;
end
$$;
comment on function mcp._audit_check_end(mcp._audit_seals, uuid[]) is 'Whether the trail ends where it is remembered to end, and what is not sealed yet';

create function mcp._audit_check_chain(good mcp._audit_seals, batch bigint, out bad_seal bigint, out bad_row bigint, out problem text)
language sql stable
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
as $$
    with s as (
        select s.number, s.first_id, s.last_id, s.previous, s.hash, mcp._audit_seal_hash(s) as true_hash,
               lag(s.number, 1, good.number) over w as number_before, lag(s.last_id, 1, good.last_id) over w as last_before, lag(s.hash, 1, good.hash) over w as hash_before
          from mcp._audit_seals s
         where s.number > good.number and s.number <= batch
        window w as (order by s.number)
    )
    select case when s.number > s.number_before + 1 then s.number_before + 1 else s.number end,
           case when s.number > s.number_before + 1 then s.last_before + 1 end,
           case
               when s.number > s.number_before + 1 then format('seal %s was removed', s.number_before + 1)
               when s.hash is distinct from s.true_hash then format('seal %s was changed', s.number)
               when s.previous <> s.hash_before then format('seal %s does not follow seal %s, which was changed or put in its place', s.number, s.number_before)
               else format('seal %s begins at row %s and ends at row %s, and the seal before it ends at row %s', s.number, s.first_id, s.last_id, s.last_before)
           end
      from s
     where s.number > s.number_before + 1 or s.hash is distinct from s.true_hash or s.previous <> s.hash_before
        or s.first_id <> s.last_before + 1 or s.last_id < s.first_id
     order by s.number
     limit 1
$$;
comment on function mcp._audit_check_chain(mcp._audit_seals, bigint) is 'The first seal after a good one, up to the batch''s last, that is not the next link of the chain; its rows are not looked at';

create function mcp._audit_check(lowest bigint, highest bigint) returns mcp.audit_verdict
language plpgsql stable
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
declare
    -- So much at a time, as memory holds it with ease.
    most_rows constant bigint := 100000;
    most_seals constant bigint := 10000;
    changed_callers constant uuid[] := coalesce((select array_agg(c.id order by c.id) from mcp._audit_callers c where c.id <> mcp._audit_caller_id(c)), '{}');
    verdict mcp.audit_verdict := row(false, null, null, null, 0, 0, 0, null, null, null);
    good mcp._audit_seals := row(0, 0, 0, null, null, null, null, '\x0000000000000000000000000000000000000000000000000000000000000000');
    purge record;
    doubt mcp.audit_verdict;
    batch bigint;
    link record;
    fault record;
begin
    select s.number, encode(s.hash, 'hex') into verdict.last_seal, verdict.last_hash from mcp._audit_seals s order by s.number desc limit 1;
    -- What was purged is known from a row, which must be a good one itself.
    select p.* into purge from mcp._audit_purged() p;
    if purge.seal is not null and (lowest = purge.seal and highest = purge.seal) is not true then
        doubt := mcp._audit_check(purge.seal, purge.seal);
        if not (doubt.ok and purge.readable) then
            verdict.problem := 'the record of what was purged does not hold: ' || coalesce(doubt.problem, format('row %s is no such record', purge.id));
            verdict.first_bad_row := coalesce(doubt.first_bad_row, purge.id);
            verdict.first_bad_seal := purge.seal;
            return verdict;
        end if;
    end if;
    if lowest > 1 then
        select s.* into good from mcp._audit_seals s where s.number = lowest - 1;
        if not found then
            verdict.problem := format('seal %s was removed', lowest - 1);
            verdict.first_bad_seal := lowest - 1;
            return verdict;
        end if;
    else
        verdict.first_bad_row := (select min(e.id) from mcp._audit e where e.id < 1);
        verdict.first_bad_seal := (select min(s.number) from mcp._audit_seals s where s.number < 1);
        if verdict.first_bad_row is not null or verdict.first_bad_seal is not null then
            verdict.problem := case when verdict.first_bad_row is null then format('seal %s was inserted', verdict.first_bad_seal)
                                    else format('row %s was inserted', verdict.first_bad_row) end;
            return verdict;
        end if;
    end if;

    loop
        batch := (select max(b.number)
                    from (select s.number from mcp._audit_seals s
                           where s.number > good.number and s.number <= coalesce(highest, s.number) and s.last_id <= good.last_id + most_rows
                           order by s.number limit most_seals) b);
        batch := coalesce(batch, (select min(s.number) from mcp._audit_seals s where s.number > good.number and s.number <= coalesce(highest, s.number)));
        exit when batch is null;
        select * into link from mcp._audit_check_chain(good, batch);
        batch := least(batch, link.bad_seal - 1);
        if batch > good.number then
            -- Rows before seals: these come before the seal that does not fit.
            select * into fault from mcp._audit_check_rows(good.number + 1, batch, purge.gone, purge.partial, changed_callers);
            verdict.seals := verdict.seals + fault.seals;
            verdict.purged_seals := verdict.purged_seals + fault.purged;
            verdict.rows := verdict.rows + fault.rows;
            if fault.problem is not null then
                link := fault;
            end if;
            select s.* into good from mcp._audit_seals s where s.number = batch;
        end if;
        if link.problem is not null then
            verdict.problem := link.problem;
            verdict.first_bad_row := link.bad_row;
            verdict.first_bad_seal := link.bad_seal;
            return verdict;
        end if;
    end loop;

    if good.number < highest then
        verdict.problem := format('seal %s was removed', good.number + 1);
        verdict.first_bad_seal := good.number + 1;
        verdict.first_bad_row := good.last_id + 1;
        return verdict;
    elsif highest is null then
        select * into link from mcp._audit_check_end(good, changed_callers);
        verdict.problem := link.problem;
        verdict.first_bad_row := link.bad_row;
        verdict.first_bad_seal := link.bad_seal;
        verdict.unsealed_rows := link.unsealed;
    end if;
    if verdict.problem is null and purge.until is not null then
        verdict.first_bad_row := (select min(e.id) from mcp._audit e where e.at < purge.until and e.id < purge.id);
        if verdict.first_bad_row is not null then
            verdict.problem := format('row %s is there, and row %s says that all before %s were purged', verdict.first_bad_row, purge.id, purge.until);
        end if;
    end if;
    verdict.ok := verdict.problem is null;
    return verdict;
end
$$;
comment on function mcp._audit_check(bigint, bigint) is 'Verifies the seals from one number to another, with their rows; null stands for the beginning, and for the end of the trail';

create function mcp._audit_seal_of(row_id bigint) returns bigint
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select s.number from mcp._audit_seals s where s.first_id <= row_id order by s.first_id desc limit 1
$$;
comment on function mcp._audit_seal_of(bigint) is 'Number of the seal that covers a row; of the newest, for a row that is not sealed yet';

create function mcp._audit_verify_time(since timestamptz, until timestamptz) returns mcp.audit_verdict
language plpgsql stable
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
declare
    lowest bigint;
    highest bigint;
    low bigint;
    high bigint;
begin
    -- Seals that were made in that time, the next one before and after them, and those of all rows of that time: some are recorded late.
    if since is not null or until is not null then
        select min(e.id), max(e.id) into low, high from mcp._audit e where e.at >= coalesce(since, '-infinity') and e.at <= coalesce(until, 'infinity');
    end if;
    if since is not null then
        lowest := least((select max(s.number) from mcp._audit_seals s where s.sealed_at < since), mcp._audit_seal_of(low));
    end if;
    if until is not null then
        highest := (select min(s.number) from mcp._audit_seals s where s.sealed_at > until);
        if high > (select max(s.last_id) from mcp._audit_seals s) then
            highest := null;
        elsif highest is not null then
            highest := greatest(highest, mcp._audit_seal_of(high));
        end if;
    end if;
    return mcp._audit_check(lowest, highest);
end
$$;
comment on function mcp._audit_verify_time(timestamptz, timestamptz) is 'Verifies the rows of a time and the seals around them';

-- Volatile for the sake of the lock: the statement after it has a snapshot of its own, which is not from before a purge that was waited for.
create function mcp.audit_verify(since timestamptz default null, until timestamptz default null) returns mcp.audit_verdict
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    if until < since then
        raise exception 'until lies before since' using errcode = 'invalid_parameter_value', hint = 'mcp.audit_verify(since, until): the earlier time first.';
    end if;
    lock table only mcp._audit in access share mode;
    return mcp._audit_verify_time(since, until);
end
$$;
comment on function mcp.audit_verify(timestamptz, timestamptz) is
    'Proves that nothing was changed, removed or inserted in the audit trail (of a time: its rows and the seals around them), or names the first row that does not fit. '
    'That the newest seals were not cut off together with their rows shows in the server log: last_seal and last_hash are what its last line about a seal says';

create function mcp._audit_verify_ids(from_id bigint, to_id bigint) returns mcp.audit_verdict
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select mcp._audit_check(case when from_id > 1 then mcp._audit_seal_of(from_id) end,
                            case when to_id <= (select max(s.last_id) from mcp._audit_seals s) then mcp._audit_seal_of(to_id) end)
$$;
comment on function mcp._audit_verify_ids(bigint, bigint) is 'Verifies the seals that cover some rows';

create function mcp.audit_verify_ids(from_id bigint default null, to_id bigint default null) returns mcp.audit_verdict
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    lock table only mcp._audit in access share mode;
    return mcp._audit_verify_ids(from_id, to_id);
end
$$;
comment on function mcp.audit_verify_ids(bigint, bigint) is 'What mcp.audit_verify does, for the seals that cover these rows; null: from the beginning, to the end';
