-- Owns: what is written about a tool: the directive in a function's comment.
-- Runs: as the caller, whenever tools are listed or called.
-- Must not: fail because of a comment that somebody else wrote.
--
-- A function is a tool when its comment begins with a directive, which ends with ")" at the end of a line:
--     @mcp({"kind": "tool", "title": "List orders", "args": {"day": "Day to look at"}})
--     Text that tells a model what the tool does and when to use it.
-- JSON has no line end within a string, so the first ")" that ends a line ends the directive. mcp.expose() writes it, mcp.check() tells
-- what is wrong with one.
-- Keys: kind (tool is the default), name (outside schema mcp), title, annotations (hints that differ from what the volatility
-- says), args (per argument a description, or {"description": ..., "schema": {...}, "secret": true} to say more than the type does), features
-- (the groups that a client asks for), output (keys of the result with their types, see mcp._output_schema; outside schema mcp for functions that
-- return jsonb), security_definer (outside schema mcp: true, or a SECURITY DEFINER function is no tool), query (made by mcp.save_query), and
-- in schema mcp sql (true: it runs SQL text of the caller's).

create function mcp._directive_parts(comment text) returns text[]
language sql immutable strict
set search_path = pg_catalog, pg_temp
as $$
    -- The limits keep a long comment from costing more than it is worth.
    select array[c.head, case when length(c.words) > 8000 then left(c.words, 7990) || ' ... (cut)' else c.words end]
      from (select h.clean, h.head, btrim(substr(h.clean, 8 + length(h.head)), E' \n\t') as words
              from (select d.clean, substr(split_part(left(d.clean, 16384) || E'\n', E')\n', 1), 6) as head
                      from (select regexp_replace(left(comment, 65536), '[ \t\r]+(?=\n|$)', '', 'g') as clean) d
                     where starts_with(d.clean, '@mcp(')) h) c
     where strpos(c.clean || E'\n', '@mcp(' || c.head || E')\n') = 1
$$;
comment on function mcp._directive_parts(text) is
    '@support The two parts of a comment that begins with @mcp(...): the text of the directive''s JSON and the description after it; null if it does not end';

create function mcp._directive_json(head text) returns jsonb
language plpgsql immutable strict
set search_path = pg_catalog, pg_temp
as $$
declare
    found jsonb;
begin
    found := coalesce(nullif(btrim(head, E' \n'), ''), '{}')::jsonb;
    -- What is nested deeper than that is no directive, and JSON readers of clients would give up on the whole list because of it.
    return case when jsonb_typeof(found) = 'object'
                     and (length(head) - length(translate(head, '{[', '')) < 16 or not jsonb_path_exists(found, '$.**{16}')) then found end;
exception when others then
    -- Whatever is wrong with it (syntax, a NUL escape, depth), it is not a directive, and no reason to fail.
    return null;
end
$$;
comment on function mcp._directive_json(text) is '@support The JSON object of a directive; null if it is none, or none that can be read';

create function mcp._directive(comment text) returns jsonb
language plpgsql immutable strict parallel safe
set search_path = pg_catalog, pg_temp
as $$
declare
    parts constant text[] := mcp._directive_parts(comment);
begin
    return mcp._directive_json(parts[1]) || jsonb_build_object('description', parts[2]);
end
$$;
comment on function mcp._directive(text) is
    '@support Reads the @mcp(...) directive of a comment, with the rest of the comment as description; null if there is none that can be read';

create function mcp._read_directives(comments text[]) returns jsonb[]
language plpgsql immutable strict
set search_path = pg_catalog, pg_temp
as $$
begin
    -- All at once, as long as nobody made a mistake; what is not quite regular is read on its own. Same outcome, a tenth of the time.
    begin
        return array(
            select case when h.regular
                        then concat(left(h.head, -1), ', "description": ', to_json(btrim(substr(h.comment, 8 + length(h.head)), E' \n\t')), '}')::jsonb
                        else mcp._directive(h.comment) end
              from (select c.comment, c.n, s.head,
                           length(c.comment) < 8000 and right(s.head, 1) = '}' and left(s.head, 2) = '{"' and strpos(c.comment, E'\r') = 0
                           and length(s.head) - length(translate(s.head, '{[', '')) < 16
                           and (strpos(c.comment, E')\n') > 0 or right(c.comment, 1) = ')' and s.head = left(substr(c.comment, 6), -1)) as regular
                      from unnest(comments) with ordinality c (comment, n)
                     cross join lateral (select substr(case when strpos(c.comment, E')\n') > 0 then split_part(c.comment, E')\n', 1)
                                                            else rtrim(c.comment, ')') end, 6) as head offset 0) s
                    offset 0) h
             order by h.n);
    exception when others then
        return array(select mcp._directive(c.comment) from unnest(comments) with ordinality c (comment, n) order by c.n);
    end;
end
$$;
comment on function mcp._read_directives(text[]) is '@support As mcp._directive, of many comments at once';

create function mcp._secrets(directive jsonb) returns jsonb
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
    -- Whoever wrote something else than true meant something by it: better hidden than not.
    select coalesce(jsonb_agg(a.key order by a.key collate "C"), '[]')
      from jsonb_each(case when jsonb_typeof(directive -> 'args') = 'object' then directive -> 'args' else '{}' end) a
     where jsonb_typeof(a.value) = 'object' and coalesce(a.value -> 'secret', 'false') not in ('false', 'null')
$$;
comment on function mcp._secrets(jsonb) is '@support The arguments that a directive marks as secret: their values are recorded nowhere';

create function mcp._arguments(function oid) returns table (place integer, name text, type oid, required boolean, is_variadic boolean, number integer)
language plpgsql stable strict rows 4
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
begin
    return query
    select a.place::integer, a.name, a.type, a.place <= p.pronargs - p.pronargdefaults, a.mode = 'v', a.number::integer
      from pg_proc p
     cross join lateral (
           select row_number() over (order by u.n) as place, coalesce(u.name, '') as name, u.type, coalesce(u.mode, 'i') as mode,
                  u.n as number
             from unnest(p.proargnames, coalesce(p.proallargtypes, p.proargtypes::oid[]), p.proargmodes)
                  with ordinality as u (name, type, mode, n)
            where u.type is not null and coalesce(u.mode, 'i') in ('i', 'b', 'v')) a
     where p.oid = function;
end
$$;
comment on function mcp._arguments(oid) is '@support Input arguments of a function in order, from the catalog';
