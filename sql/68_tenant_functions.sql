-- Owns: mcp.create_tenant and mcp.drop_tenant, for all three ways to keep tenants apart. docs/tenants.md says what each way promises.
-- Runs: in an administrator's session, with the administrator's own rights.
-- Must not: be SECURITY DEFINER; drop data unless it is told to.

create function mcp.create_tenant(
    name text, kind text, access text default 'write', tools text[] default null,
    role regrole default null, tables regclass[] default null, tenant_column text default 'tenant_id', setting text default 'app.tenant_id',
    template name default null,
    label text default null, expires_at timestamptz default null, settings jsonb default null,
    calls_per_minute integer default null, max_concurrent integer default null, max_rows integer default null, max_seconds numeric default null,
    client text default 'json',
    out tenant text, out token text, out url text, out config text, out granted text[], out warnings text[])
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    p_label constant text := coalesce(create_tenant.label, 'tenant ' || create_tenant.name);
    tenant_role regrole;
    tenant_database oid;
    made record;
    answer jsonb;
    target regclass;
begin
    if create_tenant.kind is null or create_tenant.kind <> all ('{database,role,claim}') then
        raise exception 'there is no kind of tenant "%"', create_tenant.kind
            using errcode = 'invalid_parameter_value', hint = 'It is database, role or claim.';
    elsif coalesce(create_tenant.name, '') = '' then
        raise exception 'the name is missing' using errcode = 'invalid_parameter_value';
    elsif create_tenant.access is null or create_tenant.access <> all ('{read,write}') then
        raise exception 'there is no access "%" for a tenant', create_tenant.access
            using errcode = 'invalid_parameter_value', hint = 'It is read or write.';
    elsif exists (select from mcp._tenants t where t.name = create_tenant.name) then
        raise exception 'there is a tenant "%" already', create_tenant.name
            using errcode = 'duplicate_object', hint = 'Choose another name, or call mcp.drop_tenant with this one first.';
    elsif create_tenant.kind <> 'claim' and num_nonnulls(create_tenant.role, create_tenant.tables) > 0 then
        raise exception 'role and tables are for tenants that are a claim' using errcode = 'invalid_parameter_value';
    elsif create_tenant.kind <> 'database' and create_tenant.template is not null then
        raise exception 'a template is for tenants that are a database' using errcode = 'invalid_parameter_value';
    end if;
    tenant := create_tenant.name;

    if create_tenant.kind = 'claim' then
        if create_tenant.role is null then
            raise exception 'the role that these tenants share is missing'
                using errcode = 'invalid_parameter_value',
                      hint = 'Make one (create role ... nologin; GRANT; mcp.grant_tools) and say role => ''...''.';
        elsif num_nonnulls(create_tenant.settings, create_tenant.calls_per_minute, create_tenant.max_concurrent, create_tenant.max_rows,
                           create_tenant.max_seconds) > 0 then
            raise exception 'settings and limits of a shared role would be those of all its tenants'
                using errcode = 'invalid_parameter_value', hint = 'Limit the token: select mcp.set_limit(token => ...), with its id in mcp.tokens.';
        elsif mcp._privileged(create_tenant.role) is not null then
            raise exception 'policies do not keep role % apart: %', create_tenant.role, mcp._privileged(create_tenant.role)
                using errcode = 'object_not_in_prerequisite_state', hint = 'Take an ordinary role.';
        elsif (select r.rolcanlogin from pg_roles r where r.oid = create_tenant.role) then
            -- Sessions of one login role read each other's statements and may end them. Calls of a NOLOGIN role are sessions of mcp_bridge,
            -- which nobody is a member of. And in a session of PostgreSQL itself the setting would be anybody's to set.
            raise exception 'role % may log in, so its tenants could see and end each other''s calls', create_tenant.role
                using errcode = 'object_not_in_prerequisite_state',
                      hint = format('Say: alter role %s nologin; the server serves its tokens all the same.', create_tenant.role);
        end if;
        tenant_role := create_tenant.role;
        granted := '{}';
        foreach target in array coalesce(create_tenant.tables, '{}') loop
            granted := granted || mcp._guard_table(target, tenant_role, create_tenant.tenant_column, create_tenant.setting);
        end loop;
        token := mcp.create_token(tenant_role, label => p_label, expires_at => create_tenant.expires_at, read_only => create_tenant.access = 'read',
                                  settings => jsonb_build_object(create_tenant.setting, create_tenant.name));
        granted := granted || format('a token of role %s with %s = %s', tenant_role, create_tenant.setting, create_tenant.name);
        warnings := mcp._claim_gaps(tenant_role, create_tenant.setting) || mcp._exposures(tenant_role, create_tenant.access);
    else
        perform mcp._check_new_role(create_tenant.name);
        if create_tenant.kind = 'role' then
            if exists (select from pg_namespace n where n.nspname = create_tenant.name) then
                raise exception 'there is a schema "%" already', create_tenant.name using errcode = 'duplicate_schema', hint = 'Choose another name.';
            end if;
            execute format('create schema %I', create_tenant.name);
            -- Default privileges of whoever calls may have opened it already.
            execute format('revoke all on schema %I from public', create_tenant.name);
            select * into made from mcp.create_agent(
                create_tenant.name, access => create_tenant.access, schemas => array[create_tenant.name], tools => create_tenant.tools, future => true,
                label => p_label, expires_at => create_tenant.expires_at,
                settings => jsonb_build_object('search_path', jsonb_build_array(create_tenant.name)) || coalesce(create_tenant.settings, '{}'),
                calls_per_minute => create_tenant.calls_per_minute, max_concurrent => create_tenant.max_concurrent,
                max_rows => create_tenant.max_rows, max_seconds => create_tenant.max_seconds, client => create_tenant.client);
            if create_tenant.access = 'write' then
                execute format('grant create on schema %I to %I', create_tenant.name, create_tenant.name);
                made.granted := made.granted || format('CREATE on schema %I', create_tenant.name);
            end if;
            granted := array[format('schema %I, which only %I and its owner can use', create_tenant.name, create_tenant.name)] || made.granted;
            token := made.token;
            warnings := made.warnings;
        else
            perform mcp.client_config(create_tenant.client, url => 'http://localhost/mcp');
            answer := mcp._create_tenant_database(
                create_tenant.name, create_tenant.template,
                format('select mcp._settle_tenant(%L, %L, %L::pg_catalog.text[], %L, %L::pg_catalog.timestamptz, %L::pg_catalog.jsonb, %L::pg_catalog.int4,'
                       ' %L::pg_catalog.int4, %L::pg_catalog.int4, %L::pg_catalog.numeric, %L)',
                       create_tenant.name, create_tenant.access, create_tenant.tools, p_label, create_tenant.expires_at, create_tenant.settings,
                       create_tenant.calls_per_minute, create_tenant.max_concurrent, create_tenant.max_rows, create_tenant.max_seconds,
                       create_tenant.client));
            tenant_database := (answer ->> 'oid')::oid;
            granted := array[format('database %I, closed to PUBLIC', create_tenant.name)] || array(select jsonb_array_elements_text(answer -> 'granted'));
            token := answer ->> 'token';
            warnings := array(select jsonb_array_elements_text(answer -> 'warnings'));
        end if;
        select r.oid into tenant_role from pg_roles r where r.rolname = create_tenant.name;
    end if;

    insert into mcp._tenants (name, kind, role, database, setting)
    values (create_tenant.name, create_tenant.kind, tenant_role, tenant_database,
            case create_tenant.kind when 'claim' then create_tenant.setting end);
    url := mcp._url(coalesce((select d.datname from pg_database d where d.oid = tenant_database), current_database()));
    if url is not null then
        config := mcp.client_config(create_tenant.client, token, name => create_tenant.name, url => url);
    end if;
end
$$;
comment on function mcp.create_tenant(text, text, text, text[], regrole, regclass[], text, text, name, text, timestamptz, jsonb, integer, integer, integer,
                                      numeric, text) is
    'Makes a tenant that is kept apart by a database, by a role with a schema, or by a claim in its token which policies read; returns its token and what to be warned of';

create function mcp._claim_gaps(role regrole, setting text) returns text[]
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    -- What the role can touch and the claim does not guard.
    with gaps (gap) as (
        select format('%I.%I is open to role %s and no policy on it reads %s: what one tenant writes there all see. Name it in tables => ...',
                         s.name, c.relname, role, setting)
          from mcp._open_schemas(role) s
          join pg_class c on c.relnamespace = s.oid
         where c.relkind in ('r', 'p')
           and (has_table_privilege(role::oid, c.oid, 'SELECT, INSERT, UPDATE, DELETE') or has_any_column_privilege(role::oid, c.oid, 'SELECT, INSERT, UPDATE'))
           and not exists (select from pg_policy p
                            where p.polrelid = c.oid and not p.polpermissive
                              and position(quote_literal(setting) in pg_get_expr(p.polqual, p.polrelid)) > 0
                              and exists (select from unnest(p.polroles) g where g = 0 or pg_has_role(role::oid, g, 'USAGE')))
    )
    select coalesce(array_agg(gap order by gap), '{}') from gaps
$$;
comment on function mcp._claim_gaps(regrole, text) is 'Where a claim does not keep the tenants of a shared role apart';

create function mcp.drop_tenant(name text, drop_data boolean default false) returns text[]
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    tenant record;
    done text[] := '{}';
    count integer;
begin
    select t.*, r.oid is not null as has_role into tenant
      from mcp._tenants t left join pg_roles r on r.oid = t.role where t.name = drop_tenant.name;
    if not found then
        raise exception 'there is no tenant "%"', drop_tenant.name using errcode = 'undefined_object', hint = 'mcp.tenants lists them.';
    end if;
    if tenant.kind = 'claim' then
        if drop_data then
            raise exception 'the rows of a tenant that is a claim are not dropped here'
                using errcode = 'feature_not_supported', hint = 'Delete them as the owner of the tables, then call this without drop_data.';
        end if;
        delete from mcp._tokens t where t.role = tenant.role and t.settings ->> tenant.setting = tenant.name;
        get diagnostics count = row_count;
        done := array[format('tokens revoked: %s', count), 'the tenant''s rows and the policies stay'];
    elsif tenant.kind = 'role' then
        if drop_data then
            execute format('drop schema if exists %I cascade', tenant.name);
            done := array[format('schema %I dropped, with all that was in it', tenant.name)];
        else
            done := array[format('schema %I stays, with its data', tenant.name)];
        end if;
        if tenant.has_role then
            done := mcp._drop_role(tenant.role) || done;
        end if;
        delete from mcp._agents a where a.role = tenant.role;
    else
        done := mcp._drop_tenant_database(tenant.database, tenant.role, coalesce(drop_data, false));
    end if;
    delete from mcp._tenants t where t.name = drop_tenant.name;
    return done;
end
$$;
comment on function mcp.drop_tenant(text, boolean) is
    'Takes a tenant''s access back: tokens, grants and role. Its data stays, and becomes the current user''s; with drop_data its schema or database goes too';
