-- Owns: what keeps a function that is marked as a tool from being listed, or listed as was meant, in words; mcp.check().
-- Runs: in the session of whoever writes tools, with that role's own rights. Comments and privileges can be read by everybody.
-- Must not: change anything, or disagree with mcp._marked, which decides.

create function mcp._trusted(owner oid) returns boolean
language sql stable strict
set search_path = pg_catalog, pg_temp
as $$
    -- As mcp._marked has it.
    select pg_has_role(owner, coalesce((select r.oid from pg_roles r where r.rolname = 'mcp_admin'), 10), 'MEMBER')
$$;
comment on function mcp._trusted(oid) is 'Whether other roles see the tools of this owner: superusers and members of mcp_admin';

create function mcp._only_owner(function oid) returns text
language sql stable strict
set search_path = pg_catalog, pg_temp
as $$
    select case
               when not exists (select from aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a where a.grantee <> p.proowner)
                   then format('grant execute on function %s to ...;', p.oid::regprocedure)
               when not exists (select from aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a
                                 where a.grantee <> p.proowner and a.privilege_type = 'USAGE')
                    and n.nspowner = p.proowner
                   then format('grant usage on schema %I to ...;', n.nspname)
           end
      from pg_proc p
      join pg_namespace n on n.oid = p.pronamespace
     where p.oid = function
$$;
comment on function mcp._only_owner(oid) is 'The GRANT that is missing where nobody but the owner could call a function; null if there is somebody';

create function mcp._directive_faults(function oid, directive jsonb, kind text) returns table (problem text, hint text)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    known constant text[] := case kind when 'tool' then '{kind,name,title,args,features,annotations,output,security_definer,query}'
                                       when 'resource' then '{kind,name,title,args,features,security_definer,uri,mime}'
                                       else '{kind,name,title,args,features,security_definer}' end::text[];
    names constant text[] := array(select i.name from mcp._arguments(function) i order by i.place);
    item record;
begin
    for item in select k.key, mcp._near(left(k.key, 100), known) as near from jsonb_object_keys(directive - 'description') k (key)
                 where k.key <> all (known) order by 1
    loop
        return query select format('unknown key "%s"', left(item.key, 100)),
                            case when cardinality(item.near) > 0 then format('Perhaps you meant "%s".', item.near[1])
                                 else format('Keys are: %s.', array_to_string(known, ', ')) end;
    end loop;
    for item in select k.key, k.value, case when k.key in ('security_definer', 'query') then 'boolean' when k.key in ('args', 'annotations', 'output') then 'object'
                                            when k.key = 'features' then 'array' else 'string' end as wanted
                  from jsonb_each(directive) k
                 where k.key = any (known || '{}') order by 1
    loop
        if jsonb_typeof(item.value) <> item.wanted then
            return query select format('"%s" must be of type %s, not %s', item.key, item.wanted, jsonb_typeof(item.value)), 'It counts for nothing as it is.';
        elsif item.key = 'features' and (item.value = '[]' or jsonb_path_exists(item.value, '$[*] ? (@.type() != "string" || @ == "")')) then
            return query select '"features" must be a list of words'::text, 'For example: "features": ["custom", "billing"].';
        elsif item.key = 'output' and not mcp._sane_output(item.value) then
            return query select '"output" does not describe a result'::text, 'For example: "output": {"total": "number", "note?": "string"}, or JSON Schema for a key.';
        elsif item.key = 'output' and kind = 'tool' and mcp._returns(function) <> 'jsonb' then
            return query select '"output" is for functions that return json or jsonb'::text, 'The schema of other results comes from what the function is declared to return.';
        end if;
    end loop;
    for item in select k.key, k.value from jsonb_each(case jsonb_typeof(directive -> 'annotations') when 'object' then directive -> 'annotations' else '{}' end) k loop
        if item.key not in ('readOnlyHint', 'destructiveHint', 'idempotentHint', 'openWorldHint') or jsonb_typeof(item.value) <> 'boolean' then
            return query select format('annotation "%s" counts for nothing', left(item.key, 100)), 'There are readOnlyHint, destructiveHint, idempotentHint and openWorldHint, each true or false.';
        end if;
    end loop;
    for item in select k.key, k.value, mcp._near(left(k.key, 100), names) as near
                  from jsonb_each(case jsonb_typeof(directive -> 'args') when 'object' then directive -> 'args' else '{}' end) k
    loop
        if item.key <> all (names) then
            return query select format('"args" describes "%s", which is no argument', left(item.key, 100)),
                                case when cardinality(item.near) > 0 then format('Perhaps you meant "%s".', item.near[1])
                                     else format('Arguments are: %s.', coalesce(nullif(array_to_string(names, ', '), ''), '(none)')) end;
        elsif item.value ? 'secret' and jsonb_typeof(item.value -> 'secret') <> 'boolean' then
            return query select format('"secret" of "%s" must be true or false, not %s', item.key, jsonb_typeof(item.value -> 'secret')),
                                case item.value -> 'secret' when 'null' then 'It counts for nothing as it is.' else 'It counts as true until it is either.' end;
        elsif item.value -> 'secret' = 'true' and kind = 'resource' then
            return query select format('"%s" cannot be secret, for it is a part of the URI', item.key),
                                'URIs are recorded as they are. What needs a secret can be a tool.'::text;
        elsif jsonb_typeof(item.value) = 'object' and (item.value - '{description,schema,complete,secret}'::text[] <> '{}'
                                                       or item.value ? 'schema' and not mcp._sane_schema(item.value -> 'schema'))
              or jsonb_typeof(item.value) not in ('string', 'object') then
            return query select format('what "args" says of "%s" is not understood', item.key),
                                'Give a description, or {"description": "...", "schema": {JSON Schema without references}, "secret": true}.'::text;
        end if;
    end loop;
end
$$;
comment on function mcp._directive_faults(oid, jsonb, text) is 'What is wrong within a directive that can be read';

create function mcp._resource_faults(function oid, directive jsonb) returns table (problem text, hint text)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    uri constant text := directive ->> 'uri';
    expression constant text := '\{[+/?&]?[A-Za-z_][A-Za-z0-9_]*(?:,[A-Za-z_][A-Za-z0-9_]*)*\}';
    variables constant text[] := array(select v from regexp_matches(uri, expression, 'g') m,
                                                     regexp_split_to_table(btrim(m[1], '{}+/?&'), ',') v);
    argument record;
    stray text;
begin
    if uri is null then
        return query select 'a resource has a "uri"'::text, 'For example "uri": "shop://orders", or a template whose variables are the arguments: "shop://orders/{id}".'::text;
    elsif uri !~ '^[A-Za-z][A-Za-z0-9+.-]*:[^[:space:][:cntrl:]"<>\\^`|]+$' or length(uri) > 2000 then
        return query select '"uri" is not a URI'::text, 'It begins with a scheme and a colon, and has no spaces or quotes: "shop://orders".'::text;
    elsif regexp_replace(uri, expression, '', 'g') ~ '[{}]' then
        return query select 'the template in "uri" is not understood'::text, 'There are {name}, {+name}, {/name}, {?name,other} and {&name}.'::text;
    end if;
    for argument in select i.name, i.required from mcp._arguments(function) i order by i.place loop
        if argument.required and argument.name <> all (variables) then
            return query select format('the argument "%s" is needed, and is no variable of the template', argument.name),
                                format('Put {%s} into "uri", or give the argument a default.', argument.name);
        end if;
    end loop;
    for stray in select v from unnest(variables) v where v not in (select i.name from mcp._arguments(function) i) loop
        return query select format('the variable "%s" of the template is no argument', stray), 'Variables are named as the arguments of the function.'::text;
    end loop;
end
$$;
comment on function mcp._resource_faults(oid, jsonb) is 'What is wrong with the URI of a resource';

create function mcp._function_faults(function oid, directive jsonb, kind text) returns table (problem text, hint text)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    p record;
    given constant text := directive ->> 'name';
    other regprocedure;
    features text[];
    t text;
begin
    select f.*, f.oid::regprocedure as called, o.rolname as owner, coalesce(given, f.proname) as tool into p
      from pg_proc f join pg_roles o on o.oid = f.proowner where f.oid = function;
    if p.prokind <> 'f' then
        return query select 'only functions can be called by models'::text, 'Write a function that does the same; a procedure can not be a tool.'::text;
        return;
    end if;
    if p.tool !~ '^[A-Za-z0-9_.-]{1,128}$' then
        return query select format('"%s" cannot be the name of a %s', left(p.tool, 100), kind), 'Give another one with "name": letters, digits, "_", "-" and ".", at most 128.'::text;
    end if;
    if mcp._returns(function) is null then
        return query select format('its result, %s, has no form that can be sent', format_type(p.prorettype, null)),
                            'Return a type of values, json, a composite type, TABLE (...), or void.'::text;
    end if;
    for t in select case when i.name = '' then format('argument %s has no name', i.place)
                         else format('no value can be given for argument "%s" of type %s', i.name, format_type(i.type, null)) end
               from mcp._arguments(function) i
               left join pg_type y on y.oid = i.type
               left join pg_type e on e.oid = y.typelem and y.typcategory = 'A'
              where i.name = '' or 'p' in (y.typtype, e.typtype) order by i.place
    loop
        return query select t, 'Models give arguments by name, as JSON values.'::text;
    end loop;
    select d.objoid into other
      from pg_description d
      join pg_proc f on f.oid = d.objoid
     cross join lateral mcp._directive(d.description) as x (directive)
     where d.classoid = 'pg_proc'::regclass and d.objsubid = 0 and d.objoid >= 16384 and starts_with(d.description, '@mcp(') and d.objoid <> function
       and (f.proname = p.tool or strpos(d.description, '"name"') > 0)
       and coalesce(x.directive ->> 'kind', 'tool') = kind
       and case when f.pronamespace = 'mcp'::regnamespace then f.proname = p.tool
                else coalesce(x.directive ->> 'name', f.proname) = p.tool and d.objoid < function and (mcp._trusted(f.proowner) or f.proowner = p.proowner) end
     order by f.pronamespace = 'mcp'::regnamespace desc, d.objoid
     limit 1;
    if other is not null then
        return query select format('%s is the %s "%s" already', other, kind, p.tool), 'Give another name with "name". Whoever may call both gets that one.'::text;
    end if;
    if p.prosecdef and directive -> 'security_definer' is distinct from 'true' then
        return query select 'it is SECURITY DEFINER, and the directive does not say so'::text,
                            format('Models would act with the rights of %I. If that is meant, say "security_definer": true.', p.owner);
    end if;
    if p.prosecdef and not exists (select from unnest(p.proconfig) c where starts_with(c, 'search_path=')) then
        return query select 'it is SECURITY DEFINER without a search_path of its own'::text, format('Say: alter function %s set search_path = ..., pg_temp;', p.called);
    end if;
    if not mcp._trusted(p.proowner) then
        return query select format('its owner %I is no member of mcp_admin, so only %I sees it', p.owner, p.owner),
                            format('An administrator who has read it says: alter function %s owner to ...; or, to trust all functions of its owner: grant mcp_admin to %I;',
                                   p.called, p.owner);
    end if;
    if mcp._only_owner(function) is not null then
        return query select 'nobody but its owner may call it'::text, format('Say: %s', mcp._only_owner(function));
    end if;
    features := mcp._features(directive, false);
    if kind = 'tool' and not mcp._in_toolset(p.tool, features, mcp._default_lists()) then
        return query select format('only clients that ask for its features see it (%s)', array_to_string(features, ', ')),
                            'Add "custom" to "features", or a feature to the setting supabase_mcp.features.'::text;
    end if;
    if length(directive ->> 'description') >= 8000 then
        return query select 'its description is longer than 8000 characters, and is cut'::text, 'Models read it with every list of tools: one or two sentences are enough.'::text;
    end if;
    if directive ->> 'description' = '' then
        return query select 'it has no description'::text, 'The text after the directive tells a model what it does and when to use it.'::text;
    end if;
end
$$;
comment on function mcp._function_faults(oid, jsonb, text) is 'What keeps a function with a readable directive from being listed, or from its callers';

create function mcp._faults(function oid) returns table (problem text, hint text)
language plpgsql stable strict
set search_path = pg_catalog, pg_temp
as $$
declare
    comment constant text := obj_description(function, 'pg_proc');
    directive constant jsonb := mcp._directive(comment);
    kind constant text := coalesce(directive ->> 'kind', 'tool');
    parts text[];
    reason text;
begin
    if not coalesce(starts_with(comment, '@mcp('), false) then
        if left(comment, 1000) ~* '^\W*@?mcp\s*\(' then
            return query select 'its comment does not begin with "@mcp("'::text, 'Nothing may stand before it, and it is written in lower case.'::text;
        end if;
        return;
    end if;
    if directive is null then
        parts := mcp._directive_parts(comment);
        if parts is null then
            return query select 'the directive in its comment does not end'::text, 'It ends with ")" at the end of a line, within 16384 characters.'::text;
            return;
        end if;
        begin
            reason := case when jsonb_typeof(parts[1]::jsonb) <> 'object' then 'not an object' else 'nested too deep' end;
        exception when others then
            reason := sqlerrm;
        end;
        return query select format('the directive in its comment cannot be read: %s', reason), 'It is @mcp({...}) with a JSON object; mcp.expose() writes one.'::text;
        return;
    end if;
    if kind not in ('tool', 'prompt', 'resource') then
        return query select format('unknown kind "%s"', left(kind, 100)), 'Kinds are: tool, prompt, resource.'::text;
    end if;
    return query select f.problem, f.hint from mcp._directive_faults(function, directive, kind) f;
    if kind = 'resource' then
        return query select f.problem, f.hint from mcp._resource_faults(function, directive) f;
    end if;
    return query select f.problem, f.hint from mcp._function_faults(function, directive, kind) f;
end
$$;
comment on function mcp._faults(oid) is 'Everything that is wrong with a function as a tool, prompt or resource; nothing for one whose comment does not mark it';

create function mcp.check() returns table (function regprocedure, problem text, hint text)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select p.oid::regprocedure, f.problem, f.hint
      from pg_description d
      join pg_proc p on p.oid = d.objoid
     cross join lateral mcp._faults(p.oid) with ordinality as f (problem, hint, place)
     where d.classoid = 'pg_proc'::regclass
       and d.objsubid = 0
       and d.objoid >= 16384
       and p.pronamespace <> 'mcp'::regnamespace
       and strpos(lower(left(d.description, 1000)), 'mcp') > 0
     order by p.oid::regprocedure::text collate "C", f.place
$$;
comment on function mcp.check() is
    'What is wrong with the functions that are marked as tools, prompts or resources in this database, and what to do; no rows mean that nothing is';
