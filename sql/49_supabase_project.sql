-- Owns: the tools get_project_url and get_publishable_keys: where a client application reaches the API of this database, and with which key.
-- Runs: as the caller. Both come from settings that an administrator makes; nothing is asked of the network.
-- Must not: give out a key that is not known to be publishable.

create function mcp.get_project_url() returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    name text;
    url text;
begin
    -- The first is for this server; the others are what projects use by custom to tell their own functions.
    foreach name in array '{supabase_mcp.project_url,app.settings.supabase_url,app.settings.project_url,app.supabase_url}'::text[] loop
        url := rtrim(btrim(current_setting(name, true), E' \t\n'), '/');
        exit when url <> '';
    end loop;
    if coalesce(url, '') = '' then
        raise exception 'the URL of the API is not known here'
            using errcode = 'object_not_in_prerequisite_state',
                  hint = format('An administrator says it: alter database %I set supabase_mcp.project_url = ''https://api.example.com'';', current_database());
    end if;
    -- No user or password before the host: an answer goes into client code.
    if url !~* '^https?://[^\s/?#@]+(/[^\s?#]*)?$' then
        raise exception 'the setting % is not the URL of an API', name
            using errcode = 'invalid_parameter_value', hint = 'It must be like https://api.example.com, without user, password and query.';
    end if;
    return jsonb_build_object('url', url);
end
$$;
comment on function mcp.get_project_url() is
'@mcp({"kind": "tool", "features": ["development"], "title": "Get project URL", "output": {"url": "string"}})
Gets the API URL for client applications.';

create function mcp._key_type(key text) returns text
language plpgsql immutable strict
set search_path = pg_catalog, pg_temp
as $$
declare
    claims text;
begin
    if key ~ '^sb_publishable_[A-Za-z0-9_-]+$' then
        return 'publishable';
    end if;
    -- A JSON Web Token. Its signature is not looked at: it is shown to who may read the setting anyway, and the claims say what it opens.
    if key ~ '^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$' then
        claims := translate(split_part(key, '.', 2), '-_', '+/');
        if convert_from(decode(rpad(claims, (length(claims) + 3) / 4 * 4, '='), 'base64'), 'UTF8')::jsonb -> 'role' = '"anon"' then
            return 'legacy';
        end if;
    end if;
    return null;
exception when others then
    return null;
end
$$;
comment on function mcp._key_type(text) is
    '@support Kind of an API key that may be published, legacy (a token of the role anon) or publishable; null for any other text';

create function mcp._publishable_keys(setting text) returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    given jsonb;
begin
    -- One key, or a JSON array of keys and of objects with api_key.
    if setting ~ '^\s*[\[{]' then
        begin
            given := setting::jsonb;
        exception when others then
            raise exception 'the setting supabase_mcp.publishable_keys is not JSON'
                using errcode = 'invalid_parameter_value',
                      hint = 'It must be one key, or like [{"name": "default", "api_key": "sb_publishable_..."}].';
        end;
    else
        given := to_jsonb(btrim(setting, E' \t\n'));
    end if;
    return (
        -- Nothing of an entry goes out but what is named here, and nothing at all of one whose key is not publishable.
        select coalesce(jsonb_agg(
                   jsonb_build_object('api_key', k.key, 'type', k.type,
                                      'name', coalesce(nullif(g.entry ->> 'name', ''), case k.type when 'legacy' then 'anon' else 'default' end))
                   || case when jsonb_typeof(g.entry -> 'description') = 'string' then jsonb_build_object('description', g.entry -> 'description') else '{}' end
                   || case when jsonb_typeof(g.entry -> 'id') = 'string' then jsonb_build_object('id', g.entry -> 'id') else '{}' end
                   || case when jsonb_typeof(g.entry -> 'disabled') = 'boolean' then jsonb_build_object('disabled', g.entry -> 'disabled') else '{}' end
                   order by g.place) filter (where k.type is not null), '[]')
          from jsonb_array_elements(case jsonb_typeof(given) when 'array' then given else jsonb_build_array(given) end)
               with ordinality as g (entry, place)
         cross join lateral (select btrim(case jsonb_typeof(g.entry) when 'string' then g.entry #>> '{}' else g.entry ->> 'api_key' end)) t (key)
         cross join lateral (select t.key, mcp._key_type(t.key)) k (key, type));
end
$$;
comment on function mcp._publishable_keys(text) is '@support The keys of the setting supabase_mcp.publishable_keys that may be published';

create function mcp.get_publishable_keys() returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    setting constant text := coalesce(nullif(btrim(current_setting('supabase_mcp.publishable_keys', true)), ''),
                                      nullif(btrim(current_setting('app.settings.anon_key', true)), ''));
    keys jsonb;
begin
    if setting is null then
        raise exception 'the publishable keys of the project are not known here'
            using errcode = 'object_not_in_prerequisite_state',
                  hint = format('An administrator says them: alter database %I set supabase_mcp.publishable_keys = ''sb_publishable_...'';'
                                ' a JSON array is for several. Never put a secret key there: settings can be read by everybody.', current_database());
    end if;
    keys := mcp._publishable_keys(setting);
    if keys = '[]' then
        raise exception 'none of the keys that are set is publishable'
            using errcode = 'invalid_parameter_value',
                  hint = 'Publishable are sb_publishable_... and the legacy key of the role anon. A secret key in that setting can be read by every'
                         ' role: take it out, and replace it by a new one.';
    end if;
    return jsonb_build_object('keys', keys);
end
$$;
comment on function mcp.get_publishable_keys() is
'@mcp({"kind": "tool", "features": ["development"], "title": "Get API keys", "output": {"keys": "array"}})
Gets API keys for client applications; use none that is disabled.';
