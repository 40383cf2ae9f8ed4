-- Owns: what holds rows of the audit trail against the seals that cover them, and names the first that does not fit.
-- Runs: within mcp.audit_verify, with the rights of whoever calls that.
-- Must not: trust a seal: the caller of these has seen to its place in the chain. Marks name a row; what proves is the body, which the chain covers.

create function mcp._audit_misfit(seal mcp._audit_seals, rest text, out id bigint, out problem text)
language plpgsql stable
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
as $$
declare
    nothing constant bytea := '\x0000000000000000';
    whole record;
begin
    select count(*) as rows, sha256(coalesce(string_agg(mcp._audit_digest(e), '' order by e.id, mcp._audit_digest(e)), '')) as body into whole
      from mcp._audit e where e.id between seal.first_id and seal.last_id;
    if rest is null and whole.body = seal.body and whole.rows = seal.last_id - seal.first_id + 1 then
        problem := format('the marks of seal %s were changed; its rows are as they were', seal.number);
        return;
    elsif seal.marks is null then
        problem := format('the rows of seal %s are not those that were sealed, and no sealed record of a purge says that they went', seal.number);
        id := (select i from generate_series(seal.first_id, seal.last_id) i where not exists (select from mcp._audit e where e.id = i) order by i limit 1);
        return;
    end if;
    select i.id, case
               when e.rows > 1 then format('row %s is there %s times', i.id, e.rows)
               when e.rows is null and i.mark = nothing then format('row %s was removed before it was sealed', i.id)
               when e.rows is null then format('row %s was removed', i.id)
               when i.mark = nothing then format('row %s was inserted', i.id)
               else format('row %s was changed', i.id)
           end
      into id, problem
      from (select n as id, substr(seal.marks, 1 + 8 * (n - seal.first_id)::integer, 8) as mark from generate_series(seal.first_id, seal.last_id) n) i
      left join (select a.id, count(*) as rows, substr(decode(min(encode(mcp._audit_digest(a), 'hex')), 'hex'), 1, 8) as mark
                   from mcp._audit a where a.id between seal.first_id and seal.last_id group by a.id) e on e.id = i.id
     where octet_length(seal.marks) = 8 * (seal.last_id - seal.first_id + 1)
       and (e.rows > 1 or e.mark is distinct from i.mark and (i.mark <> nothing or e.rows is not null or rest is null))
     order by i.id
     limit 1;
    if not found then
        problem := format('rows %s to %s are not those that seal %s covers; its marks were changed too, so that they do not tell which', seal.first_id, seal.last_id, seal.number);
    end if;
end
$$;
comment on function mcp._audit_misfit(mcp._audit_seals, text) is 'The first row that does not fit its seal; rest: the hash of what a purge left of its rows, as hex';

create function mcp._audit_check_rows(first_seal bigint, last_seal bigint, gone int8multirange, partial jsonb, changed_callers uuid[],
                                      out bad_seal bigint, out bad_row bigint, out problem text, out seals bigint, out purged bigint, out rows bigint)
language plpgsql stable
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
set work_mem = '64MB'
as $$
declare
    seal mcp._audit_seals;
    misfit record;
    fault record;
    first_id constant bigint := (select s.first_id from mcp._audit_seals s where s.number = first_seal);
    last_id constant bigint := (select s.last_id from mcp._audit_seals s where s.number = last_seal);
begin
    with r as materialized (
        -- The array is no variable, which would be copied for each row.
        select width_bucket(e.id, (select array_agg(s.first_id order by s.number) from mcp._audit_seals s where s.number between first_seal and last_seal))
                   + first_seal - 1 as number, e.id, mcp._audit_digest(e) as digest,
               case when e.caller is not null and (c.id is null or c.id = any (changed_callers)) then e.id end as bad_caller
          from mcp._audit e
          left join mcp._audit_callers c on c.id = e.caller
         where e.id between first_id and last_id
    ), g as (
        select r.number, count(*) as rows, sha256(string_agg(r.digest, '' order by r.id, r.digest)) as body,
               string_agg(substr(r.digest, 1, 8), '' order by r.id, r.digest) as marks, min(r.bad_caller) as bad_caller
          from r group by r.number
    ), f as (
        select s.number, coalesce(g.rows, 0) as rows, s.number <@ gone as gone, g.bad_caller,
               case
                   when s.number <@ gone then g.rows is null
                   when partial ? s.number::text then encode(g.body, 'hex') is not distinct from partial ->> s.number::text
                   else g.rows = s.last_id - s.first_id + 1 and g.body = s.body and g.marks is not distinct from s.marks
               end as fits
          from mcp._audit_seals s
          left join g on g.number = s.number
         where s.number between first_seal and last_seal
    ), b as (
        select min(f.number) as number from f where f.fits is not true or f.bad_caller is not null
    )
    select b.number, (select f.fits from f where f.number = b.number) as fits, (select f.bad_caller from f where f.number = b.number) as bad_caller,
           count(f.number) as seals, count(f.number) filter (where f.gone) as purged, coalesce(sum(f.rows), 0) as rows
      into fault
      from b left join f on b.number is null or f.number < b.number
     group by b.number;
    seals := fault.seals;
    purged := fault.purged;
    rows := fault.rows;
    if fault.number is null then
        return;
    end if;
    bad_seal := fault.number;
    select s.* into strict seal from mcp._audit_seals s where s.number = bad_seal;
    if fault.fits is not true then
        if bad_seal <@ gone then
            bad_row := (select min(e.id) from mcp._audit e where e.id between seal.first_id and seal.last_id);
            problem := format('row %s was inserted: the one that seal %s covers was purged', bad_row, bad_seal);
        else
            misfit := mcp._audit_misfit(seal, partial ->> bad_seal::text);
            bad_row := misfit.id;
            problem := misfit.problem;
        end if;
    end if;
    if fault.bad_caller <= bad_row or problem is null then
        bad_row := fault.bad_caller;
        problem := mcp._audit_caller_problem(bad_row);
    end if;
end
$$;
comment on function mcp._audit_check_rows(bigint, bigint, int8multirange, jsonb, uuid[]) is
    'Holds the rows of some seals, whose place in the chain is proven, against them; gone and partial: the seals that lost all or some of their rows to a purge';

create function mcp._audit_caller_problem(row_id bigint) returns text
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select format('row %s names caller %s, whose entry was %s', e.id, e.caller, case when c.id is null then 'removed' else 'changed' end)
      from mcp._audit e left join mcp._audit_callers c on c.id = e.caller
     where e.id = row_id
     limit 1
$$;
comment on function mcp._audit_caller_problem(bigint) is 'What is wrong with the caller of a row of the audit trail';
