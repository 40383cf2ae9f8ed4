-- Owns: mcp.expose and mcp.hide, which write the directive that makes a function a tool, a prompt or a resource, and take it out.
-- Runs: in the session of the function's owner, with that role's own rights: COMMENT demands it.
-- Must not: lose words that somebody else wrote into the comment.

create function mcp._mark(function regprocedure, directive jsonb, description text) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    execute format('comment on function %s is %L', function,
                   nullif(concat_ws(E'\n', '@mcp(' || directive::text || ')', nullif(btrim(description, E' \n\t'), '')), ''));
end
$$;
comment on function mcp._mark(regprocedure, jsonb, text) is 'Writes the comment of a function: a directive, if any, and a description';

create function mcp._check_may_mark(function regprocedure) returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    p record;
begin
    select f.prokind, f.pronamespace, o.oid as owner, o.rolname into p from pg_proc f join pg_roles o on o.oid = f.proowner where f.oid = function;
    if p.prokind is null then
        raise exception 'the function does not exist' using errcode = 'undefined_function';
    elsif p.prokind <> 'f' then
        raise exception '% is not a function', function
            using errcode = 'wrong_object_type', hint = 'Models call functions; write one that does the same.';
    elsif p.pronamespace = 'mcp'::regnamespace then
        raise exception '% belongs to the extension', function
            using errcode = 'invalid_parameter_value', hint = 'Its own tools are given and taken with mcp.grant_tools and mcp.revoke_tools.';
    elsif not pg_has_role(p.owner, 'USAGE') then
        raise exception 'must be owner of function %', function
            using errcode = 'insufficient_privilege', hint = format('Its owner is %I.', p.rolname);
    end if;
end
$$;
comment on function mcp._check_may_mark(regprocedure) is 'Raises unless the current user may mark a function: it is one, no built-in, and its owner''s';

create function mcp.expose(function regprocedure, kind text default 'tool', title text default null, description text default null, args jsonb default null,
                           features text[] default null, name text default null, annotations jsonb default null, security_definer boolean default null,
                           more jsonb default null) returns text
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    comment constant text := obj_description(function, 'pg_proc');
    marked constant boolean := coalesce(starts_with(comment, '@mcp('), false);
    before constant jsonb := mcp._directive(comment);
    directive jsonb;
    fault record;
begin
    perform mcp._check_may_mark(function);
    if coalesce(kind, '') not in ('tool', 'prompt', 'resource') then
        raise exception 'unknown kind "%"', kind using errcode = 'invalid_parameter_value', hint = 'Kinds are: tool, prompt, resource.';
    end if;
    if jsonb_typeof(more) <> 'object' then
        raise exception 'more must be an object with keys of the directive' using errcode = 'invalid_parameter_value';
    end if;
    if marked and before is null and description is null then
        raise exception 'the directive in the comment of % cannot be read', function
            using errcode = 'invalid_parameter_value',
                  hint = 'Give the description: the comment is written anew then. mcp.check() says what is wrong with it.';
    end if;
    -- What is not given stays as it was.
    directive := coalesce(before, '{}') - 'description'
                 || jsonb_strip_nulls(jsonb_build_object('kind', kind, 'name', name, 'title', title, 'args', args, 'features', to_jsonb(features),
                                                         'annotations', annotations, 'security_definer', security_definer))
                 || coalesce(more, '{}');
    if mcp._directive_json(directive::text) is null or length(directive::text) > 16000 then
        raise exception 'the directive is too long, or nested too deep' using errcode = 'invalid_parameter_value';
    end if;
    perform mcp._mark(function, directive, coalesce(description, case when marked then before ->> 'description' else comment end));
    for fault in select f.problem, f.hint from mcp._faults(function) f loop
        raise warning '%: %', function, fault.problem using hint = fault.hint;
    end loop;
    return coalesce(directive ->> 'name', (select p.proname from pg_proc p where p.oid = function));
end
$$;
comment on function mcp.expose(regprocedure, text, text, text, jsonb, text[], text, jsonb, boolean, jsonb) is
    'Makes a function of one''s own a tool, a prompt or a resource, under the name that it returns, and warns of what keeps it from being seen. The comment that the function had stays as its description';

create function mcp.hide(function regprocedure) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    comment constant text := obj_description(function, 'pg_proc');
    before constant jsonb := mcp._directive(comment);
begin
    perform mcp._check_may_mark(function);
    if not coalesce(starts_with(comment, '@mcp('), false) then
        raise notice '% was not exposed', function;
        return;
    end if;
    if before is null then
        raise exception 'the directive in the comment of % cannot be read', function
            using errcode = 'invalid_parameter_value', hint = format('It exposes nothing. To take it out, say: comment on function %s is ...;', function);
    end if;
    perform mcp._mark(function, null, before ->> 'description');
end
$$;
comment on function mcp.hide(regprocedure) is 'Makes a function of one''s own no tool, prompt or resource any more; the description stays in its comment';
