-- Owns: how the reports write Markdown: names that others chose, tables, times.
-- Runs: as the reader of a report.
-- Must not: let a name be anything but itself on the page: no cell, line, link or tag of its own.
--
-- A name stands in a code span, where Markdown knows neither links nor tags nor emphasis. What could end the span, the cell or the line, or would
-- not be seen, is written as JSON writes it: \u0060 for a backtick. A backslash is doubled, so that every name can be read back.

create function mcp._report_code(name text, most integer default 200) returns text
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
declare
    utf8 constant boolean := getdatabaseencoding() = 'UTF8';
    -- Invisible characters, and those that turn the direction of writing, are known by number in UTF8 alone.
    plain constant text := case when utf8 then '^[^\u0001-\u001f\u007f-\u009f`|<\\\u00ad\u034f\u061c\u115f-\u1160\u17b4-\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202f\u205f-\u206f\u2800\u3000\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\uffff\U000e0000-\U000e0fff]*$'
                                else '^[^\u0001-\u001f\u007f`|<\\]*$' end;
    shown text := case when length(name) > most then left(name, most) else name end;
begin
    if shown is null then
        return null;
    end if;
    if shown !~ plain then
        shown := (select string_agg(case when c = '\' then '\\'
                                         when c ~ plain then c
                                         when utf8 and ascii(c) > 65535 then '\U' || lpad(to_hex(ascii(c)), 8, '0')
                                         else '\u' || lpad(to_hex(ascii(c)), 4, '0') end, '' order by n)
                    from regexp_split_to_table(shown, '') with ordinality s (c, n));
    end if;
    -- A span drops spaces at its ends, and there is none without content.
    shown := regexp_replace(shown, '^ | $', '\\u0020', 'g');
    return case when shown = '' then '*empty*' else '`' || shown || '`' end
           || case when length(name) > most then format(' ... (%s characters)', length(name)) else '' end;
end
$$;
comment on function mcp._report_code(text, integer) is
    'A name or text of others as Markdown that shows just it, in a code span; of a longer one the beginning';

create function mcp._report_codes(names text[], most integer default 10) returns text
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
    select coalesce(string_agg(mcp._report_code(n.name, 100), ', ' order by n.place) filter (where n.place <= most), '')
           || case when cardinality(names) > most then format(' and %s more', cardinality(names) - most) else '' end
      from unnest(names) with ordinality n (name, place)
$$;
comment on function mcp._report_codes(text[], integer) is 'Several names as Markdown, the first of many and how many more there are';

create function mcp._report_row(variadic cells text[]) returns text
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
    select '| ' || string_agg(coalesce(nullif(c.cell, ''), '-'), ' | ' order by c.place) || ' |' from unnest(cells) with ordinality c (cell, place)
$$;
comment on function mcp._report_row(text[]) is 'One row of a table in Markdown; its cells are Markdown already';

create function mcp._report_table(heads text[], lines text[], total bigint default null, rest text default null) returns text
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
    select case when coalesce(cardinality(lines), 0) = 0 then E'None.\n'
                else mcp._report_row(variadic heads) || E'\n|' || repeat(' --- |', cardinality(heads)) || E'\n' || array_to_string(lines, E'\n') || E'\n' end
           || case when total > cardinality(lines)
                   then format(E'\nand %s more%s\n', total - cardinality(lines), coalesce(': ' || rest, '')) else '' end
$$;
comment on function mcp._report_table(text[], text[], bigint, text) is
    'A table in Markdown from its rows; with the number of rows that there are it says how many are left out, and where they can be read';

create function mcp._report_time(at timestamptz) returns text
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select case when isfinite(at) then to_char(at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS') || ' UTC' else at::text end
$$;
comment on function mcp._report_time(timestamptz) is 'A time as reports write it, in UTC';
