-- Owns: resources: functions marked with "kind": "resource" and "uri": a fixed URI, or a template (RFC 6570) whose variables are the arguments.
-- Runs: as the caller; a resource only reads, whatever its function is.
-- Must not: fail because of a directive that somebody else wrote, or put a part of a URI into a statement: its values travel in the parameter.
--
-- Templates may have {name}, {+name} (with slashes), {/name}, {?name,other} and {&name}. The directive's "mime" says what the content is: by default text/plain for
-- a text, application/octet-stream for bytea, and application/json for everything else.

create function mcp._uri_decoded(part text) returns text
language plpgsql immutable strict
set search_path = pg_catalog, pg_temp
as $$
begin
    return convert_from(decode(string_agg(
               case when p[1] ~ '^%' then substr(p[1], 2) else encode(convert_to(p[1], 'UTF8'), 'hex') end, '' order by n), 'hex'), 'UTF8')
      from regexp_matches(part, '%[0-9a-fA-F]{2}|[^%]+|%', 'g') with ordinality m (p, n);
exception when data_exception then
    -- Not UTF-8, or NUL: it stays as it was written.
    return part;
end
$$;
comment on function mcp._uri_decoded(text) is '@support A part of a URI without its percent-encoding';

create function mcp._uri_values(template text, uri text) returns jsonb
language plpgsql immutable strict
set search_path = pg_catalog, pg_temp
as $$
declare
    pattern text := '^';
    plain text[] := '{}';
    named text[] := '{}';
    piece text;
    operator text;
    found text[];
    answer jsonb := '{}';
begin
    if length(template) > 2000 or length(uri) > 8000 then
        return null;
    end if;
    -- Either a literal piece or an expression in braces.
    for piece in select m[1] from regexp_matches(template, '\{[^{}]*\}|[^{}]+|[{}]', 'g') m loop
        if piece !~ '^\{[+/?&]?[A-Za-z_][A-Za-z0-9_]*(,[A-Za-z_][A-Za-z0-9_]*)*\}$' then
            if piece ~ '[{}]' then
                return null;
            end if;
            pattern := pattern || regexp_replace(piece, '([][\\.^$*+?(){}|])', '\\\1', 'g');
            continue;
        end if;
        operator := coalesce(substring(piece from '^\{([+/?&])'), '');
        piece := btrim(piece, '{}+/?&');
        if operator in ('?', '&') then
            named := named || string_to_array(piece, ',');
            pattern := pattern || case operator when '?' then '(?:\?([^#]*))?' else '(?:&([^#]*))?' end;
            plain := plain || ''::text;
        else
            for piece, operator in
                select n.name, case when operator = '' and n.place > 1 then ',' else operator end
                  from unnest(string_to_array(piece, ',')) with ordinality n (name, place)
            loop
                pattern := pattern || case operator when '+' then '(.+)' when '/' then '/([^/?#]+)' when ',' then ',([^/?#,]+)' else '([^/?#,]+)' end;
                plain := plain || piece;
            end loop;
        end if;
    end loop;
    found := regexp_match(uri, pattern || '$');
    if found is null and uri !~ (pattern || '$') then
        return null;
    end if;
    for i in 1 .. cardinality(plain) loop
        if plain[i] <> '' then
            answer := answer || jsonb_build_object(plain[i], mcp._uri_decoded(found[i]));
        else
            answer := answer || coalesce((
                select jsonb_object_agg(mcp._uri_decoded(split_part(p, '=', 1)), mcp._uri_decoded(substr(p, strpos(p, '=') + 1)))
                  from regexp_split_to_table(coalesce(found[i], ''), '&') p
                 where strpos(p, '=') > 1 and mcp._uri_decoded(split_part(p, '=', 1)) = any (named)), '{}');
        end if;
    end loop;
    return answer;
end
$$;
comment on function mcp._uri_values(text, text) is
    '@support The values of a template''s variables in a URI; an empty object for a fixed URI that is the same, null if it does not fit';

create function mcp._mime(function oid, directive jsonb) returns text
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select coalesce(substring(directive ->> 'mime' from '^[A-Za-z0-9!#$&^_.+-]{1,100}/[A-Za-z0-9!#$&^_.+;= -]{1,100}$'),
                    case when p.prorettype = 'bytea'::regtype then 'application/octet-stream'
                         when mcp._returns(p.oid) = 'scalar' and t.typcategory = 'S' then 'text/plain'
                         else 'application/json' end)
      from pg_proc p join pg_type t on t.oid = p.prorettype
     where p.oid = function
$$;
comment on function mcp._mime(oid, jsonb) is '@support Media type of a resource: what its directive says, or what its result is';

create function mcp._resource_list(templates boolean, "only" jsonb) returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return (
        select coalesce(jsonb_agg(
                   jsonb_strip_nulls(jsonb_build_object(
                       case when templates then 'uriTemplate' else 'uri' end, r.uri,
                       'name', r.name,
                       'title', r.title,
                       'description', nullif(r.directive ->> 'description', ''),
                       'mimeType', mcp._mime(r.function, r.directive)))
                   order by r.uri collate "C"), '[]')
          from (select distinct on (u.uri) o.function, o.name, o.title, o.directive, u.uri
                  from mcp._offered('resource', "only") o
                 cross join lateral (select (o.directive ->> 'uri') collate "C" as uri) u
                 -- A scheme and something in it, or no client could ask for it.
                 where u.uri ~ '^[A-Za-z][A-Za-z0-9+.-]*:[^[:space:][:cntrl:]"<>\\^`|]+$' and length(u.uri) <= 2000
                   and (u.uri ~ '[{}]') = templates
                 order by u.uri, o.function) r);
end
$$;
comment on function mcp._resource_list(boolean, jsonb) is '@support The resources of the current user with a fixed URI, or the templates';

create function mcp._resources("only" jsonb default '[]') returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$ select mcp._resource_list(false, "only") $$;
comment on function mcp._resources(jsonb) is '@support The resources of the current user, as MCP lists them, ordered by URI';

create function mcp._resource_templates("only" jsonb default '[]') returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$ select mcp._resource_list(true, "only") $$;
comment on function mcp._resource_templates(jsonb) is '@support The templates of resources of the current user, as MCP lists them, ordered by URI';

create function mcp._resource_call(uri text, "only" jsonb default '[]') returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    max_rows constant bigint := coalesce(current_setting('supabase_mcp.max_rows', true), '1000');
    content text;
    o record;
begin
    -- The fixed URI goes before a template that fits as well.
    select f.function, f.returns, f.directive, f.name, f.found, p.pronamespace = 'mcp'::regnamespace as ours, p.prorettype into o
      from (select r.*, case when r.directive ->> 'uri' = _resource_call.uri then '{}' else mcp._uri_values(r.directive ->> 'uri', uri) end as found
              from mcp._offered('resource', "only") r) f
      join pg_proc p on p.oid = f.function
     where f.found is not null
     order by f.directive ->> 'uri' = uri desc, length(f.directive ->> 'uri') desc, f.function
     limit 1;
    if o.function is null then
        return null;
    end if;
    o.found := mcp._typed_arguments(o.function, o.found);
    perform mcp._check_arguments(o.name, o.function, o.found);
    content := case
                   when o.prorettype = 'bytea'::regtype then
                       'pg_catalog.jsonb_build_object(''blob'', pg_catalog.translate(pg_catalog.encode(f.r, ''base64''), e''\n'', ''''))'
                   when o.returns = 'scalar' then 'pg_catalog.jsonb_build_object(''text'', f.r::pg_catalog.text)'
                   else 'pg_catalog.jsonb_build_object(''text'', pg_catalog.to_jsonb(f.r)::pg_catalog.text)' end;
    -- The URI is no argument: it travels under a name that none can have.
    return jsonb_build_object(
        'ours', o.ours,
        'write', false,
        'arguments', o.found || jsonb_build_object('', uri),
        'statement', case when o.returns in ('set', 'row') then
            format('select pg_catalog.jsonb_build_object(''contents'', pg_catalog.jsonb_build_array(pg_catalog.jsonb_build_object('
                   '''uri'', $1::pg_catalog.jsonb operator(pg_catalog.->>) '''', ''mimeType'', %L,'
                   ' ''text'', coalesce(%s, ''[]'')::pg_catalog.text))) from (select pg_catalog.to_jsonb(f) as r from %s as f limit %s) s',
                   mcp._mime(o.function, o.directive),
                   case o.returns when 'set' then 'pg_catalog.jsonb_agg(s.r)' else '(pg_catalog.array_agg(s.r))[1]' end,
                   mcp._call_source(o.function, o.found), max_rows)
        else
            format('select pg_catalog.jsonb_build_object(''contents'', pg_catalog.jsonb_build_array(pg_catalog.jsonb_build_object('
                   '''uri'', $1::pg_catalog.jsonb operator(pg_catalog.->>) '''', ''mimeType'', %L) operator(pg_catalog.||) %s))'
                   ' from %s as f(r) where f.r is not null',
                   mcp._mime(o.function, o.directive), content, mcp._call_source(o.function, o.found))
        end);
end
$$;
comment on function mcp._resource_call(text, jsonb) is
    '@support How a resource of the current user is read: the SQL statement that does it, and its parameter; null if there is none';
