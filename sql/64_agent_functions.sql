-- Owns: mcp.create_agent and mcp.drop_agent: a role with what one access level means, and all of it taken back.
-- Runs: in an administrator's session, with the administrator's own rights: a superuser, or a member of mcp_admin with CREATEROLE.
-- Must not: be SECURITY DEFINER, or show a token anywhere but in the answer.

create function mcp.create_agent(
    name text, access text default 'read', schemas text[] default '{public}', tools text[] default null, future boolean default false,
    label text default null, expires_at timestamptz default null, settings jsonb default null,
    calls_per_minute integer default null, max_concurrent integer default null, max_rows integer default null, max_seconds numeric default null,
    client text default 'json',
    out role text, out token text, out url text, out config text, out granted text[], out warnings text[])
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    agent regrole;
    access_given record;
begin
    perform mcp._check_new_role(create_agent.name);
    if create_agent.access is null or create_agent.access <> all ('{read,write,admin}') then
        raise exception 'there is no access "%"', create_agent.access
            using errcode = 'invalid_parameter_value', hint = 'It is read, write or admin.';
    end if;
    perform mcp._check_schemas(create_agent.schemas);
    -- Before anything is made: a client that nobody knows is an error as well.
    perform mcp.client_config(create_agent.client, url => coalesce(mcp._url(current_database()), 'http://localhost/mcp'));

    agent := mcp._create_role(create_agent.name, create_agent.settings);
    access_given := mcp._grant_access(agent, create_agent.access, create_agent.schemas, coalesce(create_agent.future, false));
    granted := access_given.granted || format('tools: %s', array_to_string(
        mcp.grant_tools(agent, create_agent.access <> 'read', create_agent.tools), ', '));
    token := mcp.create_token(agent, label => coalesce(create_agent.label, 'agent ' || create_agent.name), expires_at => create_agent.expires_at,
                              read_only => create_agent.access = 'read');
    if num_nonnulls(create_agent.calls_per_minute, create_agent.max_concurrent, create_agent.max_rows, create_agent.max_seconds) > 0 then
        perform mcp.set_limit(role => agent, calls_per_minute => create_agent.calls_per_minute, max_concurrent => create_agent.max_concurrent,
                              max_rows => create_agent.max_rows, max_seconds => create_agent.max_seconds);
        granted := granted || 'limits: see mcp.limits'::text;
    end if;
    delete from mcp._agents a where not exists (select from pg_roles r where r.oid = a.role);
    insert into mcp._agents (role, access, schemas) values (agent, create_agent.access, create_agent.schemas);

    role := create_agent.name;
    url := mcp._url(current_database());
    if url is not null or mcp._address()::jsonb ->> 'socket' is not null and lower(create_agent.client) like 'claude%desktop' then
        config := mcp.client_config(create_agent.client, token);
    end if;
    warnings := access_given.refused || mcp._exposures(agent, create_agent.access);
    if url is null then
        warnings := warnings || 'The server does not listen on TCP: only the Unix socket leads to it.'::text;
    end if;
end
$$;
comment on function mcp.create_agent(text, text, text[], text[], boolean, text, timestamptz, jsonb, integer, integer, integer, numeric, text) is
    'Makes a role for an AI with read, write or admin access to some schemas, its tools, limits and a token; returns the client''s configuration and what to be warned of';

create function mcp.drop_agent(name text) returns text[]
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    agent regrole;
    done text[];
begin
    delete from mcp._agents a where not exists (select from pg_roles r where r.oid = a.role);
    select a.role into agent from mcp._agents a join pg_roles r on r.oid = a.role where r.rolname = drop_agent.name;
    if not found then
        raise exception 'there is no agent "%"', drop_agent.name
            using errcode = 'undefined_object', hint = 'mcp.agents lists them. A role that mcp.create_agent did not make is dropped with DROP ROLE.';
    end if;
    done := mcp._drop_role(agent);
    delete from mcp._agents a where a.role = agent;
    return done;
end
$$;
comment on function mcp.drop_agent(text) is
    'Takes an agent back: tokens, tools, grants, default privileges and the role. What it owns becomes the current user''s; the answer says what';
