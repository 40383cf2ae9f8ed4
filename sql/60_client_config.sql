-- Owns: the configuration of each AI client, as the text that its file or command line wants. docs/clients.md shows the same forms.
-- Runs: in an administrator's session, with the administrator's own rights.
-- Must not: make a token, or know anything of the server but its address.

create function mcp._address() returns text
    language c stable strict parallel restricted
    as 'MODULE_PATHNAME', 'supabase_mcp_address_wrapper';
comment on function mcp._address() is
    'Where clients find the server, by its settings: url and socket, the database behind them, and the program supabase-mcp-stdio';

create function mcp._percent_encoded(value text) returns text
language sql immutable strict parallel safe
set search_path = pg_catalog, pg_temp
as $$
    select coalesce(string_agg(case when chr(b) ~ '^[A-Za-z0-9._~-]$' then chr(b) else '%' || upper(lpad(to_hex(b), 2, '0')) end, '' order by i), '')
      from (select convert_to(value, 'UTF8') as bytes) v
     cross join lateral generate_series(0, octet_length(bytes) - 1) i
     cross join lateral (select get_byte(bytes, i) as b) g
$$;
comment on function mcp._percent_encoded(text) is 'A text as one segment of a URL''s path';

create function mcp._shell_word(value text) returns text
language sql immutable strict parallel safe
set search_path = pg_catalog, pg_temp
as $$
    select case when value ~ '^[A-Za-z0-9._~:/@%+=,-]+$' then value else '''' || replace(value, '''', '''\''''') || '''' end
$$;
comment on function mcp._shell_word(text) is 'A text as one word of a POSIX shell';

create function mcp._client_name(value text) returns text
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
    -- Clients build names of tools from it, and allow these characters only.
    select left(coalesce(nullif(regexp_replace(value, '[^A-Za-z0-9_-]+', '-', 'g'), ''), 'database'), 40)
$$;
comment on function mcp._client_name(text) is 'A text as the name of a server in a client''s configuration';

create function mcp._url(database name) returns text
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select a ->> 'url' || case when a ->> 'database' = database then '' else '/' || mcp._percent_encoded(database::text) end
      from (select mcp._address()::jsonb as a) s
$$;
comment on function mcp._url(name) is 'The URL of a database for HTTP clients; null when the server does not listen on TCP and has no public address';

create function mcp.client_config(client text, token text default null, name text default null, database name default null,
                                  url text default null) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    known constant text[] := '{claude-code,claude-desktop,cursor,vscode,windsurf,codex,gemini,json}';
    spelling constant text := lower(regexp_replace(btrim(client), '[\s_]+', '-', 'g'));
    kind constant text := case spelling when 'vs-code' then 'vscode' when 'gemini-cli' then 'gemini' when 'codex-cli' then 'codex' else spelling end;
    address constant jsonb := mcp._address();
    target constant name := coalesce(database, current_database());
    address_url constant text := coalesce(url, mcp._url(target));
    bearer constant text := coalesce(token, 'mcp_...');
    label constant text := mcp._client_name(coalesce(name, target::text));
    -- What goes between quotes in JSON; TOML's basic strings are the same for these characters.
    j_label constant text := to_json(label);
    j_url constant text := to_json(address_url);
    j_bearer constant text := to_json('Bearer ' || bearer);
    variable constant text := regexp_replace(upper(replace(label, '-', '_')), '^([0-9])', '_\1') || '_TOKEN';
    by_http constant boolean := address_url like 'http://%';
begin
    if kind is null or kind <> all (known) then
        raise exception 'there is no client "%"', client
            using errcode = 'invalid_parameter_value',
                  hint = format('There are: %s. The last is for any client that reads a list of servers from JSON.', array_to_string(known, ', '));
    end if;
    if bearer !~ '^[A-Za-z0-9._~+/=-]+$' then
        raise exception 'the token has characters that no bearer token has' using errcode = 'invalid_parameter_value';
    end if;
    if address_url !~ '^https?://[^[:space:]"''<>\\^`{|}]+$' then
        raise exception 'the address "%" is no URL', address_url
            using errcode = 'invalid_parameter_value', hint = 'It looks like https://db.example.org/mcp.';
    end if;
    if kind = 'claude-desktop' and not coalesce(by_http, false) and address ->> 'socket' is null
       or kind <> 'claude-desktop' and address_url is null then
        raise exception 'the server has no address that this client could use'
            using errcode = 'object_not_in_prerequisite_state',
                  hint = 'Set supabase_mcp.listen_addresses, or supabase_mcp.public_url to the address that clients see.';
    end if;

    case kind
        when 'claude-code' then
            return format('claude mcp add --transport http %s %s --header "Authorization: Bearer %s"',
                          mcp._shell_word(label), mcp._shell_word(address_url), bearer);
        when 'claude-desktop' then
            -- It speaks stdio only. The bridge takes http, or the Unix socket; the path is right where client and server share a machine.
            return format(E'{\n  "mcpServers": {\n    %s: {\n      "command": %s,\n      "args": [%s],\n      "env": { "SUPABASE_MCP_TOKEN": %s%s }\n    }\n  }\n}',
                          j_label, address -> 'bridge', case when by_http then j_url else (address -> 'socket')::text end, to_json(bearer),
                          case when by_http or address ->> 'database' = target then ''
                               else ', "SUPABASE_MCP_DATABASE": ' || to_json(target::text) end);
        when 'cursor', 'windsurf', 'gemini' then
            return format(E'{\n  "mcpServers": {\n    %s: {\n      "%s": %s,\n      "headers": { "Authorization": %s }\n    }\n  }\n}',
                          j_label, case kind when 'cursor' then 'url' when 'windsurf' then 'serverUrl' else 'httpUrl' end, j_url, j_bearer);
        when 'vscode', 'json' then
            return format(E'{\n  "%s": {\n    %s: {\n      "type": "http",\n      "url": %s,\n      "headers": { "Authorization": %s }\n    }\n  }\n}',
                          case kind when 'vscode' then 'servers' else 'mcpServers' end, j_label, j_url, j_bearer);
        else
            -- Codex takes tokens from the environment only.
            return format(E'# Before it starts: export %s=%s\n[mcp_servers.%s]\nurl = %s\nbearer_token_env_var = "%s"',
                          variable, bearer, label, j_url, variable);
    end case;
end
$$;
comment on function mcp.client_config(text, text, text, name, text) is
    'What to paste into a client (claude-code, claude-desktop, cursor, vscode, windsurf, codex, gemini, json) so that it finds a database of this server';
