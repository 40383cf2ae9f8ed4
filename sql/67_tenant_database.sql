-- Owns: the tenant that is a database: making it, settling the tenant in it, and taking it away.
-- Runs: _settle_tenant in the new database, the others in the administrator's session. CREATE DATABASE and DROP DATABASE run at top level
-- in a process of their own, connected as the session's role: with its rights, and committed whatever the session does afterwards.
-- Must not: leave the new database open to PUBLIC, not even for the time of its making.

create function mcp._settle_tenant(name text, access text, tools text[], label text, expires_at timestamptz, settings jsonb,
                                   calls_per_minute integer, max_concurrent integer, max_rows integer, max_seconds numeric, client text) returns jsonb
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    answer record;
begin
    -- A copy of a template has its records too: tokens that were never meant for this database.
    delete from mcp._tokens t;
    delete from mcp._peer_map p;
    delete from mcp._agents a;
    delete from mcp._tenants t;
    select * into answer from mcp.create_agent(
        _settle_tenant.name, access => _settle_tenant.access, tools => _settle_tenant.tools, future => true, label => _settle_tenant.label,
        expires_at => _settle_tenant.expires_at, settings => _settle_tenant.settings, calls_per_minute => _settle_tenant.calls_per_minute,
        max_concurrent => _settle_tenant.max_concurrent, max_rows => _settle_tenant.max_rows, max_seconds => _settle_tenant.max_seconds,
        client => _settle_tenant.client);
    execute format('grant connect on database %I to %I', current_database(), _settle_tenant.name);
    if _settle_tenant.access <> 'read' then
        execute format('grant create on schema public to %I', _settle_tenant.name);
        execute format('grant temporary on database %I to %I', current_database(), _settle_tenant.name);
    end if;
    return to_jsonb(answer);
end
$$;
comment on function mcp._settle_tenant(text, text, text[], text, timestamptz, jsonb, integer, integer, integer, numeric, text) is
    'In the tenant''s new database: forgets what a template brought along, and makes the tenant''s role and token';

create function mcp._create_tenant_database(name text, template name, settle text) returns jsonb
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    here constant oid := (select d.oid from pg_database d where d.datname = current_database());
    super constant boolean := (select r.rolsuper from pg_roles r where r.rolname = current_user);
    there oid;
    answer jsonb;
    problem jsonb;
    leftover jsonb;
begin
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception 'this needs READ COMMITTED, to see the database that another process makes'
            using errcode = 'object_not_in_prerequisite_state', hint = 'Say: set default_transaction_isolation = ''read committed'';';
    elsif exists (select from pg_database d where d.datname = name) then
        raise exception 'there is a database "%" already', name using errcode = 'duplicate_database', hint = 'Choose another name.';
    elsif not super and not (select r.rolcreatedb from pg_roles r where r.rolname = current_user) then
        raise exception 'permission denied to create a database'
            using errcode = 'insufficient_privilege', hint = 'A superuser may do this, or a member of mcp_admin with CREATEROLE and CREATEDB.';
    elsif template is null and not super then
        raise exception 'only a superuser can create the extension in a new database'
            using errcode = 'insufficient_privilege',
                  hint = 'Have a superuser make a database with the extension once, and name it: template => ''...''. It must be yours, or a template.';
    elsif template = current_database() then
        raise exception 'the database that you are in cannot be copied' using errcode = 'object_in_use', hint = 'Connect to another one first.';
    elsif template is not null and not exists (select from pg_database d where d.datname = template) then
        raise exception 'there is no database "%"', template using errcode = 'invalid_catalog_name';
    end if;
    if template is not null and template not in ('template0', 'template1') then
        perform mcp.drain(template);
    end if;

    -- Nobody connects before PUBLIC is out.
    answer := mcp._errand(here, array[
        format('create database %I%s allow_connections false', name, coalesce(' template ' || quote_ident(template), '')),
        format('revoke all on database %I from public', name),
        format('grant connect on database %I to mcp_bridge', name),
        format('alter database %I allow_connections true', name)]);
    problem := answer -> 'error';
    select d.oid into there from pg_database d where d.datname = name;
    if problem is null then
        if template is null then
            problem := mcp._errand(there, array['create extension supabase_mcp'])::jsonb -> 'error';
        end if;
        if problem is null then
            answer := mcp._errand(there, array[settle]);
            problem := answer -> 'error';
        end if;
    end if;
    if problem is not null then
        -- Whatever went wrong, what is half made goes again; unless it was not ours but made by somebody else meanwhile.
        if there is not null and problem ->> 'sqlstate' <> '42P04' then
            leftover := mcp._errand(here, array[format('drop database %I with (force)', name)])::jsonb -> 'error';
        end if;
        raise exception using errcode = problem ->> 'sqlstate', message = problem ->> 'message', detail = coalesce(problem ->> 'detail', ''),
            hint = concat_ws(' ', nullif(problem ->> 'hint', ''),
                             case when problem ->> 'sqlstate' in ('3F000', '42883') then 'The template needs the extension: create extension supabase_mcp in it.' end,
                             case when leftover is not null then format('The database %I was left behind: %s', name, leftover ->> 'message') end);
    end if;
    return (answer -> 'value') || jsonb_build_object('oid', there::bigint);
end
$$;
comment on function mcp._create_tenant_database(text, name, text) is
    'Makes a database that only its owner, superusers and the tenant can enter, and settles the tenant in it. Not undone by a rollback';

create function mcp._drop_tenant_database(database oid, role regrole, drop_data boolean) returns text[]
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    here constant oid := (select d.oid from pg_database d where d.datname = current_database());
    name constant text := (select d.datname from pg_database d where d.oid = database);
    tenant constant text := (select r.rolname from pg_roles r where r.oid = role);
    answer jsonb;
begin
    if name is not null and drop_data then
        perform mcp.drain(name::name);
        perform mcp._send(here, format('drop database %I with (force)', name));
        return array[format('database %I dropped, with all that was in it', name)]
               || case when tenant is not null then mcp._drop_role(role) end;
    elsif name is null then
        return case when tenant is not null then mcp._drop_role(role) else '{}' end;
    end if;
    if tenant is null then
        return array[format('database %I stays as it is', name)];
    end if;
    answer := mcp._send(database, format('select pg_catalog.to_jsonb(mcp.drop_agent(%L))', tenant));
    return array(select jsonb_array_elements_text(answer)) || format('database %I stays, with its data; it belongs to its owner alone now', name);
end
$$;
comment on function mcp._drop_tenant_database(oid, regrole, boolean) is
    'Takes a tenant out of its database, or drops the database with it. Not undone by a rollback';
