-- Owns: how a tool is called: from a tool's name and arguments to one SQL statement with one parameter, the arguments.
-- Runs: as the caller, before each call of a tool that is a SQL function.
-- Must not: put a value into the text of a statement; values travel in the parameter.

create function mcp._near(word text, candidates text[]) returns text[]
language sql immutable strict
set search_path = pg_catalog, pg_temp
as $$
    -- Share of common pairs of letters (Dice); core has no other measure of similarity.
    with pairs as (
        select distinct c.name, substr(' ' || lower(c.name) || ' ', i, 2) as pair
          from unnest(candidates || word) as c (name)
         cross join lateral generate_series(1, length(c.name) + 1) i
    ), scored as (
        select p.name, 2.0 * count(w.pair) / (count(*) + (select count(*) from pairs q where q.name = word)) as score
          from pairs p
          left join pairs w on w.name = word and w.pair = p.pair
         where p.name = any (candidates)
         group by p.name
    )
    select coalesce(array_agg(b.name order by b.score desc, b.name), '{}')
      from (select s.name, s.score from scored s where s.score >= 0.4 order by s.score desc, s.name limit 3) b
$$;
comment on function mcp._near(text, text[]) is 'Up to three candidates that look like the word, the nearest first, for hints';

create function mcp._tool_call(tool text) returns jsonb
language sql stable strict
set search_path = pg_catalog, pg_temp
as $$
    with marked as materialized (
        select * from mcp._marked(tool)
    )
    select jsonb_build_object(
               'builtin', case when m.ours then m.directive -> 'builtin' end,
               'volatility', coalesce(v.volatility, m.volatility),
               'write', coalesce(v.volatility, m.volatility) = 'v',
               'oid', m.function::bigint,
               'regprocedure', m.function::regprocedure::text,
               'function', format('%I.%I', n.nspname, p.proname),
               'returns', m.returns,
               'args', (select coalesce(jsonb_agg(jsonb_build_object(
                                   'name', a.name, 'type', format_type(a.type, null), 'required', a.required) order by a.place), '[]')
                          from mcp._arguments(m.function) a))
      from marked m
      join pg_proc p on p.oid = m.function
      join pg_namespace n on n.oid = p.pronamespace
      left join marked v on m.ours and v.variant_of = m.tool
     where m.tool = _tool_call.tool
       and m.variant_of is null
     order by m.ours desc, m.function
     limit 1
$$;
comment on function mcp._tool_call(text) is
    'What a tool of the current user is: its function, whether it may write, its arguments and result; null if it is none';

create function mcp._tool_statement(call jsonb, arguments jsonb) returns text
language plpgsql stable strict
set search_path = pg_catalog, pg_temp
as $$
declare
    max_rows constant integer := coalesce(current_setting('supabase_mcp.max_rows', true), '1000')::integer;
    argument record;
    columns text[] := '{}';
    passed text[] := '{}';
    source text;
begin
    -- Only what was given is passed, so that defaults stay the function's own. Types are named in full: the statement is
    -- parsed under the caller's search_path.
    for argument in
        select a.name, a.is_variadic, format('%I.%I', n.nspname, t.typname) as type
          from mcp._arguments((call ->> 'oid')::oid) a
          join pg_type t on t.oid = a.type
          join pg_namespace n on n.oid = t.typnamespace
         where arguments ? a.name
         order by a.place
    loop
        columns := columns || format('%I %s', argument.name, argument.type);
        passed := passed || format('%s%I => a.%I', case when argument.is_variadic then 'variadic ' else '' end, argument.name, argument.name);
    end loop;

    source := format('%s(%s)', call ->> 'function', array_to_string(passed, ', '));
    if cardinality(columns) > 0 then
        source := format('pg_catalog.jsonb_to_record($1) as a(%s) cross join lateral %s', array_to_string(columns, ', '), source);
    end if;

    -- Each form is one row with one jsonb object, as MCP wants structured results to be.
    return case call ->> 'returns'
        when 'jsonb' then format(
            'select case when pg_catalog.jsonb_typeof(f.r::pg_catalog.jsonb) operator(pg_catalog.=) ''object'''
            ' then f.r::pg_catalog.jsonb else pg_catalog.jsonb_build_object(''result'', f.r) end from %s as f(r)', source)
        when 'row' then format('select pg_catalog.to_jsonb(f) from %s as f', source)
        when 'void' then format('select pg_catalog.jsonb_build_object(''result'', null) from %s as f(r)', source)
        when 'scalar' then format('select pg_catalog.jsonb_build_object(''result'', f.r) from %s as f(r)', source)
        when 'set' then format(
            'select pg_catalog.jsonb_build_object('
            '''rows'', coalesce(pg_catalog.jsonb_agg(s.r order by s.n) filter (where s.n operator(pg_catalog.<=) %1$s), ''[]''),'
            ' ''row_count'', pg_catalog.count(*) filter (where s.n operator(pg_catalog.<=) %1$s),'
            ' ''truncated'', pg_catalog.count(*) operator(pg_catalog.>) %1$s)'
            ' from (select pg_catalog.to_jsonb(f) as r, pg_catalog.row_number() over () as n from %2$s as f limit %3$s) s',
            max_rows, source, max_rows::bigint + 1)
    end;
end
$$;
comment on function mcp._tool_statement(jsonb, jsonb) is
    'The SQL that calls a tool with exactly these arguments, which it takes as its one parameter of type jsonb';

create function mcp._tool_call(tool text, arguments jsonb) returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    call constant jsonb := mcp._tool_call(tool);
    names text[];
    stray text;
    near text[];
    argument record;
    given jsonb := coalesce(arguments, '{}');
begin
    if call is null then
        return null;
    end if;
    if jsonb_typeof(given) <> 'object' then
        raise exception 'the arguments of tool "%" must be an object', tool using errcode = 'invalid_parameter_value';
    end if;

    names := array(select a.value ->> 'name' from jsonb_array_elements(call -> 'args') a);
    select min(k) into stray from jsonb_object_keys(given) k where k <> all (names);
    if stray is not null then
        near := mcp._near(left(stray, 100), names);
        raise exception 'tool "%" has no argument "%"', tool, left(stray, 100)
            using errcode = 'invalid_parameter_value',
                  hint = case
                             when cardinality(near) > 0 then format('Perhaps you meant "%s".', near[1])
                             when cardinality(names) > 0 then format('Its arguments are: %s.', array_to_string(names, ', '))
                             else 'It takes no arguments.'
                         end;
    end if;

    for argument in
        select a.name, a.required, given -> a.name as value, mcp._type_schema(a.type) ->> 'type' as expected
          from mcp._arguments((call ->> 'oid')::oid) a
         order by a.place
    loop
        if argument.required and argument.value is null then
            raise exception 'tool "%" needs the argument "%"', tool, argument.name
                using errcode = 'invalid_parameter_value', hint = format('Its arguments are: %s.', array_to_string(names, ', '));
        end if;
        if jsonb_typeof(argument.value) = 'null' and not argument.required then
            -- Models say null for what they leave out.
            given := given - argument.name;
        elsif jsonb_typeof(argument.value) not in ('null', argument.expected)
              -- Numbers may be strings: that is how the server itself gives those that JSON readers would round.
              and not (argument.expected in ('integer', 'number') and jsonb_typeof(argument.value) in ('number', 'string')) then
            raise exception 'argument "%" of tool "%" must be of type %, not %',
                            argument.name, tool, argument.expected, jsonb_typeof(argument.value)
                using errcode = 'invalid_parameter_value';
        end if;
    end loop;

    return call || jsonb_build_object('statement',
                                      case when call ->> 'builtin' is null then mcp._tool_statement(call, given) end);
end
$$;
comment on function mcp._tool_call(text, jsonb) is
    'A tool of the current user with the SQL statement that calls it with these arguments; raises if they do not fit';
