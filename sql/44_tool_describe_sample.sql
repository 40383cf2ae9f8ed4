-- Owns: sample rows for describe_table.
-- Runs: as the caller: the caller's privileges on each column, and row level security, decide what is read.
-- Must not: read a value that is long only to cut it, nor fail because the rows cannot be read.

create function mcp._sample_value(value jsonb, most integer) returns jsonb
language sql immutable strict
set search_path = pg_catalog, pg_temp
as $$
    select case
               when jsonb_typeof(value) = 'string' and length(value #>> '{}') > most
                   then to_jsonb(format('%s... (cut, %s characters)', left(value #>> '{}', most), length(value #>> '{}')))
               when jsonb_typeof(value) in ('array', 'object') and length(value::text) > most
                   then to_jsonb(format('%s... (cut, %s characters)', left(value::text, most), length(value::text)))
               else value
           end
$$;
comment on function mcp._sample_value(jsonb, integer) is '@support A value of a row, cut if its text is long';

create function mcp._sample_rows(relation oid, wanted integer) returns jsonb
language plpgsql stable strict
set search_path = pg_catalog, pg_temp
as $$
declare
    name constant text := mcp._table_name(relation);
    most constant integer := least(greatest(wanted, 1), 20);
    budget constant bigint := mcp._byte_budget() / 4;
    columns text;
    readable integer;
    hidden text[];
    rows jsonb;
    answer jsonb;
    reason text;
begin
    -- Of a value that would be long the size is shown: what is stored out of line is not fetched. jsonb is made of each at once, so that a
    -- column of any type has its form.
    select string_agg(case when a.attlen = -1
                           then format('case when pg_catalog.pg_column_size(t.%1$I) > 8000 then pg_catalog.to_jsonb(pg_catalog.format(''(%%s bytes)'', pg_catalog.pg_column_size(t.%1$I)))'
                                       ' else pg_catalog.to_jsonb(t.%1$I) end as %1$I', a.attname)
                           else format('t.%I', a.attname) end, ', ' order by a.attnum) filter (where may.read),
           count(*) filter (where may.read), array_agg(a.attname::text order by a.attnum) filter (where not may.read)
      into columns, readable, hidden
      from pg_attribute a
     cross join lateral (select has_column_privilege(relation, a.attnum, 'SELECT') as read) may
     where a.attrelid = relation and a.attnum > 0 and not a.attisdropped;
    if readable = 0 then
        return jsonb_build_object('sample_rows', '[]'::jsonb, 'sample_note',
                   format('not visible: you have no SELECT on %s; its owner grants it: grant select on %s to %I', name, name, current_user));
    end if;
    begin
        execute format('select coalesce(jsonb_agg(to_jsonb(s)), ''[]'') from (select %s from %s t limit %s) s', columns, name, most) into rows;
    exception when others then
        -- A view over something that the caller may not read, a foreign server that does not answer, a locked table.
        return jsonb_build_object('sample_rows', '[]'::jsonb, 'sample_note', format('not readable: %s', left(sqlerrm, 300)));
    end;
    select jsonb_build_object('sample_rows', coalesce(jsonb_agg(r.row order by r.place) filter (where r.used <= budget), '[]'))
           || case when bool_or(r.used > budget) then jsonb_build_object('sample_note', 'fewer rows than asked for: they are long') else '{}' end
      into answer
      from (select c.row, c.place, sum(octet_length(c.row::text)) over (order by c.place) as used
              from (select e.place, (select jsonb_object_agg(v.key, mcp._sample_value(v.value, 200)) from jsonb_each(e.row) v) as row
                      from jsonb_array_elements(rows) with ordinality as e (row, place)) c) r;
    reason := concat_ws('; ', answer ->> 'sample_note',
                        case when row_security_active(relation) then 'row level security applies to you: there may be other rows' end,
                        'without the columns ' || nullif(array_to_string(hidden[1:10], ', '), '') || ', which you may not read');
    return answer || case when reason <> '' then jsonb_build_object('sample_note', reason) else '{}' end;
end
$$;
comment on function mcp._sample_rows(oid, integer) is '@support A few rows of a table as the current user sees them, and a note on what is not shown';
