-- Owns: prompts: functions marked with "kind": "prompt", whose result is what a client puts before the model when its user asks for it.
-- Runs: as the caller; a prompt only reads, whatever its function is.
-- Must not: fail because of a directive that somebody else wrote.
--
-- A prompt returns a text (one message of the user), rows with the columns role and content (a conversation), or json: a message
-- {"role", "content"}, an array of messages, or {"messages": [...]}.

create function mcp._offered(wanted_kind text, "only" jsonb) returns table (function oid, name text, title text, returns text, directive jsonb)
language plpgsql stable rows 10
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
begin
    return query
        select distinct on (m.tool collate "C") m.function, m.tool,
               case when jsonb_typeof(m.directive -> 'title') = 'string' then m.directive ->> 'title' end, m.returns, m.directive
          from mcp._marked(null, wanted_kind) m
         where mcp._in_toolset(m.tool, m.features, "only")
         order by m.tool collate "C", m.ours desc, m.function;
end
$$;
comment on function mcp._offered(text, jsonb) is
    '@support The prompts or resources of the current user by name; of several functions of one name schema mcp''s, else the oldest';

create function mcp._prompts("only" jsonb default '[]') returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return (
        select coalesce(jsonb_agg(
                   jsonb_strip_nulls(jsonb_build_object(
                       'name', o.name,
                       'title', o.title,
                       'description', nullif(o.directive ->> 'description', ''),
                       'arguments', (select jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
                                                'name', a.name,
                                                'description', coalesce(case jsonb_typeof(said.value) when 'string' then said.value #>> '{}'
                                                                                                      when 'object' then said.value ->> 'description' end,
                                                                        format_type(a.type, null)),
                                                'required', a.required)) order by a.place)
                                       from mcp._arguments(o.function) a
                                      cross join lateral (select o.directive -> 'args' -> a.name as value) said)))
                   order by o.name collate "C"), '[]')
          from mcp._offered('prompt', "only") o);
end
$$;
comment on function mcp._prompts(jsonb) is '@support The prompts of the current user, as MCP lists them, ordered by name';

create function mcp._typed_arguments(function oid, arguments jsonb) returns jsonb
language plpgsql stable strict
set search_path = pg_catalog, pg_temp
as $$
declare
    typed jsonb := arguments;
    a record;
begin
    -- Arguments of prompts and variables of a URI are texts. What a type writes as something else in JSON is read from the text.
    for a in
        select i.name, arguments ->> i.name as given
          from mcp._arguments(function) i
         where jsonb_typeof(arguments -> i.name) = 'string'
           and coalesce(mcp._type_schema(i.type) ->> 'type', 'any') not in ('string', 'integer', 'number')
    loop
        begin
            typed := jsonb_set(typed, array[a.name], a.given::jsonb);
        exception when data_exception then
            -- It stays a text, and Postgres says what is wrong with it where there is.
            null;
        end;
    end loop;
    return typed;
end
$$;
comment on function mcp._typed_arguments(oid, jsonb) is '@support Arguments given as texts, as the function''s types have them in JSON';

create function mcp._messages(item jsonb) returns jsonb
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
    if item is null or item = 'null' then
        return '[]';
    elsif jsonb_typeof(item) = 'array' then
        return coalesce((select jsonb_agg(m.value order by e.place, m.place)
                           from jsonb_array_elements(item) with ordinality e (value, place)
                          cross join lateral jsonb_array_elements(mcp._messages(e.value)) with ordinality m (value, place)), '[]');
    elsif jsonb_typeof(item -> 'messages') = 'array' then
        return mcp._messages(item -> 'messages');
    elsif item ? 'content' then
        return jsonb_build_array(jsonb_build_object(
            'role', case when item ->> 'role' = 'assistant' then 'assistant' else 'user' end,
            'content', case when jsonb_typeof(item -> 'content') = 'object' and item -> 'content' ? 'type' then item -> 'content'
                            else jsonb_build_object('type', 'text', 'text', coalesce(item ->> 'content', '')) end));
    end if;
    return jsonb_build_array(jsonb_build_object('role', 'user', 'content', jsonb_build_object('type', 'text', 'text', item #>> '{}')));
end
$$;
comment on function mcp._messages(jsonb) is '@support The messages of MCP that a value returned by a prompt''s function stands for';

create function mcp._prompt_call(name text, arguments jsonb, "only" jsonb default '[]') returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    max_rows constant bigint := coalesce(current_setting('supabase_mcp.max_rows', true), '1000');
    o record;
    typed jsonb;
begin
    select * into o from mcp._offered('prompt', "only") p where p.name = _prompt_call.name;
    if o.function is null then
        return null;
    end if;
    if jsonb_typeof(arguments) is distinct from 'object' then
        raise exception 'the arguments of prompt "%" must be an object', name using errcode = 'invalid_parameter_value';
    end if;
    typed := mcp._typed_arguments(o.function, arguments);
    perform mcp._check_arguments(name, o.function, typed);
    return jsonb_build_object(
        'ours', (select p.pronamespace = 'mcp'::regnamespace from pg_proc p where p.oid = o.function),
        'write', false,
        'arguments', typed,
        'statement', format('select pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object(''description'', %L::pg_catalog.text,'
                            ' ''messages'', mcp._messages(coalesce(pg_catalog.jsonb_agg(s.r), ''[]''))))'
                            ' from (select pg_catalog.to_jsonb(f) as r from %s as f limit %s) s',
                            nullif(o.directive ->> 'description', ''), mcp._call_source(o.function, typed), max_rows))
           || case when mcp._secrets(o.directive) <> '[]' then jsonb_build_object('secret', mcp._secrets(o.directive)) else '{}' end;
end
$$;
comment on function mcp._prompt_call(text, jsonb, jsonb) is
    '@support How a prompt of the current user is made with these arguments: the SQL statement that does it; null if there is none, raises if they do not fit';
