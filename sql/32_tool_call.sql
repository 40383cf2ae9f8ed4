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
comment on function mcp._near(text, text[]) is '@support Up to three candidates that look like the word, the nearest first, for hints';

create function mcp._find_tool(tool text, out function oid, out volatility "char", out returns text, out builtin text)
language plpgsql stable strict
set search_path = pg_catalog, pg_temp
as $$
declare
    is_builtin boolean;
begin
    -- Tools of schema mcp are found by the index on names: the registry costs as much as a whole call of list_tables. They
    -- all return jsonb.
    select p.oid, p.provolatile, 'jsonb', strpos(d.description, '"builtin"') > 0
      into function, volatility, returns, is_builtin
      from pg_proc p
      join pg_description d on d.objoid = p.oid and d.classoid = 'pg_proc'::regclass and d.objsubid = 0
     where p.proname = tool
       and p.pronamespace = 'mcp'::regnamespace
       and starts_with(d.description, '@mcp({"kind": "tool"')
       and has_function_privilege(p.oid, 'EXECUTE');
    if is_builtin then
        builtin := mcp._directive(obj_description(function, 'pg_proc')) ->> 'builtin';
        -- _write is the name of a tool's variant that may write.
        volatility := coalesce((select w.provolatile from pg_proc w
                                 where w.proname = tool || '_write' and w.pronamespace = 'mcp'::regnamespace
                                   and has_function_privilege(w.oid, 'EXECUTE')), volatility);
    elsif is_builtin is null then
        select m.function, m.volatility, m.returns
          into function, volatility, returns
          from mcp._marked(tool) m
         where m.tool = _find_tool.tool and not m.ours
         order by m.function
         limit 1;
    end if;
end
$$;
comment on function mcp._find_tool(text) is
    '@support The function behind a tool of the current user, all null if there is none; the same choice as mcp._tools makes';

create function mcp._tool_call(tool text) returns jsonb
language sql stable strict
set search_path = pg_catalog, pg_temp
as $$
    select jsonb_build_object(
               'builtin', f.builtin,
               'volatility', f.volatility,
               'write', f.volatility = 'v',
               'regprocedure', f.function::regprocedure::text,
               'function', format('%I.%I', n.nspname, p.proname),
               'returns', f.returns,
               'args', (select coalesce(jsonb_agg(jsonb_build_object(
                                   'name', a.name, 'type', format_type(a.type, -1), 'required', a.required) order by a.place), '[]')
                          from mcp._arguments(f.function) a))
      from mcp._find_tool(tool) f
      join pg_proc p on p.oid = f.function
      join pg_namespace n on n.oid = p.pronamespace
$$;
comment on function mcp._tool_call(text) is
    '@support What a tool of the current user is: its function, whether it may write, its arguments and result; null if it is none';

create function mcp._stray_field(schema jsonb, value jsonb, place text, out field text, out near text[])
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    item record;
begin
    -- jsonb_to_record passes over fields that a composite type does not have; a model would never learn that it misspelt one.
    if jsonb_typeof(value) = 'object' and schema -> 'additionalProperties' = 'false' then
        for item in select v.key, v.value, schema -> 'properties' -> v.key as schema from jsonb_each(value) v loop
            if item.schema is null then
                field := format('%s.%s', place, left(item.key, 100));
                near := mcp._near(left(item.key, 100), array(select jsonb_object_keys(schema -> 'properties')));
            elsif jsonb_typeof(item.value) in ('object', 'array') then
                select s.field, s.near into field, near from mcp._stray_field(item.schema, item.value, format('%s.%s', place, item.key)) s;
            end if;
            exit when field is not null;
        end loop;
    elsif jsonb_typeof(value) = 'array' and schema #>> '{items,type}' = 'object' then
        for item in select e.value, e.n from jsonb_array_elements(value) with ordinality e (value, n) loop
            select s.field, s.near into field, near from mcp._stray_field(schema -> 'items', item.value, format('%s[%s]', place, item.n - 1)) s;
            exit when field is not null;
        end loop;
    end if;
end
$$;
comment on function mcp._stray_field(jsonb, jsonb, text) is
    '@support The first field within an argument that its composite type does not have, as a path, with those that look like it';

create function mcp._check_arguments(tool text, function oid, arguments jsonb) returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    names constant text[] := array(select i.name from mcp._arguments(function) i order by i.place);
    near text[];
    stray text;
    a record;
begin
    select min(k) into stray
      from jsonb_object_keys(arguments) k
     where k <> all (names)
       -- Clients made for Supabase's hosted server name a project with every call; here the project is the database.
       and not (k = 'project_id' and (select p.pronamespace = 'mcp'::regnamespace from pg_proc p where p.oid = function));
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
    for a in
        select i.name, i.required, jsonb_typeof(arguments -> i.name) as given, s.schema, s.schema ->> 'type' as expected
          from mcp._arguments(function) i
         cross join lateral (select mcp._type_schema(i.type) as schema offset 0) s
         order by i.place
    loop
        if a.required and a.given is null then
            raise exception 'tool "%" needs the argument "%"', tool, a.name
                using errcode = 'invalid_parameter_value', hint = format('Its arguments are: %s.', array_to_string(names, ', '));
        -- Numbers may be strings: that is how the server itself gives those that JSON readers would round.
        elsif a.given not in ('null', a.expected) and not (a.expected in ('integer', 'number') and a.given in ('number', 'string')) then
            raise exception 'argument "%" of tool "%" must be of type %, not %', a.name, tool, a.expected, a.given
                using errcode = 'invalid_parameter_value';
        elsif a.given in ('object', 'array') and (a.expected = 'object' or a.schema #>> '{items,type}' = 'object') then
            select s.field, s.near into stray, near from mcp._stray_field(a.schema, arguments -> a.name, a.name) s;
            if stray is not null then
                raise exception 'tool "%" knows no field "%"', tool, stray
                    using errcode = 'invalid_parameter_value',
                          hint = case when cardinality(near) > 0 then format('Perhaps you meant "%s".', near[1]) else 'The tool''s input schema has the fields.' end;
            end if;
        end if;
    end loop;
end
$$;
comment on function mcp._check_arguments(text, oid, jsonb) is '@support Raises, in words that tell what to do, if arguments do not fit a tool';

create function mcp._call_source(function oid, arguments jsonb) returns text
language plpgsql stable strict
set search_path = pg_catalog, pg_temp
as $$
declare
    source text;
begin
    select format('%I.%I', n.nspname, p.proname) into source
      from pg_proc p join pg_namespace n on n.oid = p.pronamespace where p.oid = function;
    if arguments = '{}' or arguments - 'project_id' = '{}' and not exists (select from mcp._arguments(function) i where i.name = 'project_id') then
        return source || '()';
    end if;
    -- Only what was given is passed, so that defaults stay the function's own; models say null for what they leave out. Types are
    -- named in full: the statement is parsed under the caller's search_path. 5.0 is an integer to JSON, though not to integer's input.
    return (
        select format('pg_catalog.jsonb_to_record($1) as a(%s) cross join lateral %s(%s)',
                      coalesce(string_agg(format('%I %s', i.name, case when p.padded then 'pg_catalog."numeric"' else p.type end), ', ' order by i.place),
                               'nothing pg_catalog.bool'),
                      source,
                      string_agg(format('%s%I => a.%I%s', case when i.is_variadic then 'variadic ' end, i.name, i.name,
                                        case when p.padded then '::' || p.type end), ', ' order by i.place))
          from mcp._arguments(function) i
          join pg_type t on t.oid = i.type
          join pg_namespace n on n.oid = t.typnamespace
         cross join lateral (
               select format('%I.%I', n.nspname, t.typname) as type,
                      i.type in ('int2'::regtype, 'int4'::regtype, 'int8'::regtype)
                      and case when jsonb_typeof(arguments -> i.name) = 'number' then scale((arguments ->> i.name)::numeric) > 0
                                                                                      and min_scale((arguments ->> i.name)::numeric) = 0 end as padded) p
         where arguments ? i.name
           and (i.required or arguments -> i.name <> 'null'));
end
$$;
comment on function mcp._call_source(oid, jsonb) is
    '@support The item of FROM that calls a function with arguments out of $1, of type jsonb; what is to be selected from it can be put around it';

create function mcp._tool_statement(function oid, returns text, arguments jsonb) returns text
language plpgsql stable strict
set search_path = pg_catalog, pg_temp
as $$
declare
    source constant text := mcp._call_source(function, arguments);
    max_rows integer;
    -- The one column of "returns table (n integer)": PostgreSQL takes its rows for plain integers.
    single constant text := case when returns = 'set' then (
        select u.name from pg_proc p cross join lateral unnest(p.proargnames, p.proargmodes) u (name, mode)
         where p.oid = function and u.mode in ('o', 'b', 't') and p.prorettype <> 'record'::regtype) end;
begin
    -- Each form is one row with one jsonb object, as MCP wants structured results to be.
    if returns = 'jsonb' then
        return format('select case when pg_catalog.jsonb_typeof(f.r::pg_catalog.jsonb) operator(pg_catalog.=) ''object'''
                      ' then f.r::pg_catalog.jsonb else pg_catalog.jsonb_build_object(''result'', f.r) end from %s as f(r)', source);
    elsif returns = 'set' then
        max_rows := coalesce(current_setting('supabase_mcp.max_rows', true), '1000');
        return format('select pg_catalog.jsonb_build_object('
                      '''rows'', coalesce(pg_catalog.jsonb_agg(s.r order by s.n) filter (where s.n operator(pg_catalog.<=) %1$s), ''[]''),'
                      ' ''row_count'', pg_catalog.count(*) filter (where s.n operator(pg_catalog.<=) %1$s),'
                      ' ''truncated'', pg_catalog.count(*) operator(pg_catalog.>) %1$s)'
                      ' from (select %4$s as r, pg_catalog.row_number() over () as n from %2$s as f limit %3$s) s',
                      max_rows, source, max_rows::bigint + 1,
                      case when coalesce(single, '') = '' then 'pg_catalog.to_jsonb(f)' else format('pg_catalog.jsonb_build_object(%L, f)', single) end);
    end if;
    return case returns
        when 'row' then format('select pg_catalog.to_jsonb(f) from %s as f', source)
        when 'void' then format('select pg_catalog.jsonb_build_object(''result'', null) from %s as f(r)', source)
        when 'scalar' then format('select pg_catalog.jsonb_build_object(''result'', f.r) from %s as f(r)', source)
    end;
end
$$;
comment on function mcp._tool_statement(oid, text, jsonb) is
    '@support The SQL that calls a function as a tool; its one parameter, of type jsonb, is the tool''s arguments';

create function mcp._tool_allowed(tool text, "only" jsonb) returns boolean
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select "only" = '[]'
           or coalesce((select mcp._in_toolset(tool, mcp._features(mcp._directive(obj_description(f.function, 'pg_proc')),
                                                                   p.pronamespace = 'mcp'::regnamespace), "only")
                          from mcp._find_tool(tool) f
                          join pg_proc p on p.oid = f.function), false)
$$;
comment on function mcp._tool_allowed(text, jsonb) is
    '@support Whether some lists of words (see mcp._in_toolset) leave a tool of the current user in; true of an empty list';

create function mcp._tool_call(tool text, arguments jsonb, "only" jsonb default '[]') returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    f record;
    k record;
begin
    select * into f from mcp._find_tool(tool);
    if f.function is null or "only" <> '[]' and not mcp._tool_allowed(tool, "only") then
        return null;
    end if;
    if jsonb_typeof(arguments) is distinct from 'object' then
        raise exception 'the arguments of tool "%" must be an object', tool using errcode = 'invalid_parameter_value';
    end if;
    -- A call without arguments that lacks one fails in its statement too, but without a word on the others.
    if arguments <> '{}' or (select p.pronargs > p.pronargdefaults from pg_proc p where p.oid = f.function) then
        perform mcp._check_arguments(tool, f.function, arguments);
    end if;
    -- After a function of schema mcp alone, in which nobody else can create any, the executor keeps its plans; not after one that ran
    -- text of the caller's.
    select n.ours, n.ours and strpos(n.words, '"sql": true') > 0 as sql, n.words into k
      from (select p.pronamespace = 'mcp'::regnamespace as ours, obj_description(p.oid, 'pg_proc') as words from pg_proc p where p.oid = f.function) n;
    return jsonb_build_object('builtin', f.builtin, 'volatility', f.volatility, 'write', f.volatility = 'v', 'returns', f.returns,
                              'ours', k.ours and not k.sql,
                              'statement', case when f.builtin is null then mcp._tool_statement(f.function, f.returns, arguments) end)
           || case when k.sql then '{"sql": true}'
                   -- The word may be written with an escape. Most directives are not read again for this.
                   when not k.ours and (strpos(k.words, '"secret"') > 0 or strpos(k.words, chr(92) || 'u') > 0)
                       then jsonb_build_object('secret', mcp._secrets(mcp._directive(k.words)))
                   else '{}' end;
end
$$;
comment on function mcp._tool_call(text, jsonb, jsonb) is
    '@support How a tool of the current user is called with these arguments: the SQL statement that does it; raises if they do not fit. Null if there is no such tool, or lists of words leave it out';
