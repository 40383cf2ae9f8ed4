-- Owns: the checks, the grants and the taking back that mcp.create_agent, mcp.create_tenant and their counterparts have in common.
-- Runs: in an administrator's session, with the administrator's own rights: nothing is granted that the administrator could not grant by hand.
-- Must not: be SECURITY DEFINER; leave a role half made (all is one transaction); drop anything that holds data.

create function mcp._check_new_role(name text) returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    if coalesce(name, '') = '' then
        raise exception 'the name is missing' using errcode = 'invalid_parameter_value';
    elsif octet_length(name) > 63 then
        raise exception 'the name is longer than the 63 bytes of a role''s name' using errcode = 'name_too_long';
    elsif name ~ '^(pg|mcp)_' or name in ('public', 'none') then
        raise exception 'the name "%" is reserved', name
            using errcode = 'reserved_name', hint = 'Names that begin with pg_ are PostgreSQL''s, those that begin with mcp_ this extension''s.';
    elsif exists (select from pg_roles r where r.rolname = name) then
        raise exception 'there is a role "%" already', name
            using errcode = 'duplicate_object',
                  hint = 'Choose another name. To let an existing role in, use GRANT, mcp.grant_tools and mcp.create_token.';
    elsif not (select r.rolsuper or r.rolcreaterole from pg_roles r where r.rolname = current_user) then
        raise exception 'permission denied to create a role'
            using errcode = 'insufficient_privilege', hint = 'A superuser may do this, or a member of mcp_admin with CREATEROLE.';
    end if;
end
$$;
comment on function mcp._check_new_role(text) is 'Raises unless the current user may create a role of this name';

create function mcp._check_schemas(schemas text[]) returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    wrong text;
begin
    if coalesce(cardinality(schemas), 0) = 0 or array_position(schemas, null) is not null then
        raise exception 'the schemas are missing'
            using errcode = 'invalid_parameter_value', hint = 'Name the schemas to open: schemas => ''{public}''.';
    end if;
    select min(s) into wrong from unnest(schemas) s where s in ('pg_catalog', 'information_schema', 'mcp') or s ~ '^pg_';
    if wrong is not null then
        raise exception 'schema "%" is not opened to anybody', wrong
            using errcode = 'invalid_parameter_value', hint = 'It belongs to PostgreSQL or to this extension; everybody reads what is meant for everybody there.';
    end if;
    select min(s) into wrong from unnest(schemas) s where not exists (select from pg_namespace n where n.nspname = s);
    if wrong is not null then
        raise exception 'there is no schema "%"', wrong
            using errcode = 'invalid_schema_name',
                  hint = (select format('There are: %s. Names are taken as they are, without quotes.', string_agg(n.nspname, ', ' order by n.nspname))
                            from pg_namespace n where n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'mcp'));
    end if;
end
$$;
comment on function mcp._check_schemas(text[]) is 'Raises unless all of these schemas exist and may be opened to an agent';

create function mcp._create_role(name text, settings jsonb) returns regrole
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    item record;
begin
    -- LOGIN, so that the sessions of its calls carry its name; no password, so that nobody signs in with one. Until version 15 who
    -- creates a role does not administer it unless it says so; later versions see to that themselves.
    execute format('create role %I login%s', name,
                   case when current_setting('server_version_num')::integer < 160000
                             and not (select r.rolsuper from pg_roles r where r.rolname = current_user) then ' admin current_user' else '' end);
    if jsonb_typeof(settings) <> 'object' then
        raise exception 'settings must be an object of names and values'
            using errcode = 'invalid_parameter_value', hint = 'Such as {"statement_timeout": "10s", "search_path": ["app", "public"]}.';
    end if;
    for item in select s.key, s.value from jsonb_each(settings) s loop
        if jsonb_typeof(item.value) not in ('string', 'number', 'boolean', 'array') or item.value = '[]' then
            raise exception 'the value of setting "%" is neither a value nor a list of values', item.key using errcode = 'invalid_parameter_value';
        end if;
        execute format('alter role %I set %s to %s', name,
                       -- A custom setting has two names with a dot between.
                       (select string_agg(quote_ident(w), '.' order by o) from unnest(string_to_array(item.key, '.')) with ordinality u (w, o)),
                       case when jsonb_typeof(item.value) = 'array'
                            then (select string_agg(quote_literal(v), ', ' order by o) from jsonb_array_elements_text(item.value) with ordinality e (v, o))
                            else quote_literal(item.value #>> '{}') end);
    end loop;
    return (select r.oid from pg_roles r where r.rolname = name);
end
$$;
comment on function mcp._create_role(text, jsonb) is 'Makes a LOGIN role without a password, administered by the current user, with these settings';

create function mcp._grant_access(role regrole, access text, schemas text[], future boolean, out granted text[], out refused text[])
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    wanted constant text[] := case access
        when 'read' then '{SELECT}'
        when 'write' then '{SELECT,INSERT,UPDATE,DELETE}'
        else '{SELECT,INSERT,UPDATE,DELETE,TRUNCATE,REFERENCES,TRIGGER}' end;
    schema record;
    relation record;
    given text;
    tables integer;
begin
    granted := '{}';
    refused := '{}';
    for schema in
        select n.oid, n.nspname as name from unnest(schemas) s join pg_namespace n on n.nspname = s group by n.oid, n.nspname order by n.nspname
    loop
        for given in select p from unnest(case access when 'admin' then '{USAGE,CREATE}' else '{USAGE}' end::text[]) p loop
            if has_schema_privilege(current_user, schema.oid, given || ' WITH GRANT OPTION') then
                execute format('grant %s on schema %I to %s', given, schema.name, role);
                granted := granted || format('%s on schema %I', given, schema.name);
            elsif not has_schema_privilege(role::oid, schema.oid, given) then
                raise exception 'permission denied to grant % on schema "%"', given, schema.name
                    using errcode = 'insufficient_privilege', hint = 'The owner of the schema may do this, or a superuser.';
            end if;
        end loop;

        tables := 0;
        for relation in
            select c.oid, c.relkind, format('%I.%I', schema.name, c.relname) as name
              from pg_class c
             where c.relnamespace = schema.oid
               and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
               and (c.relkind <> 'S' or access <> 'read')
               -- What belongs to an extension, its own script has granted to whom it is meant for.
               and not exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
             order by c.relname
        loop
            select string_agg(p, ', ' order by o) into given
              from unnest(case relation.relkind when 'S' then '{USAGE,SELECT}' when 'm' then '{SELECT}' else wanted end) with ordinality w (p, o)
             where case when relation.relkind = 'S' then has_sequence_privilege(current_user, relation.oid, p || ' WITH GRANT OPTION')
                        else has_table_privilege(current_user, relation.oid, p || ' WITH GRANT OPTION') end;
            if given is null then
                refused := refused || format('%s: nothing was granted, since %I may not grant on it. Its owner may.', relation.name, current_user);
                continue;
            end if;
            execute format('grant %s on %s %s to %s', given, case relation.relkind when 'S' then 'sequence' else 'table' end, relation.name, role);
            tables := tables + (relation.relkind <> 'S')::integer;
        end loop;
        granted := granted || format('%s on %s in schema %I', array_to_string(wanted, ', '),
                                     case tables when 0 then 'no table' when 1 then '1 table' else tables || ' tables' end, schema.name);
        if future then
            execute format('alter default privileges in schema %I grant %s on tables to %s', schema.name, array_to_string(wanted, ', '), role);
            if access <> 'read' then
                execute format('alter default privileges in schema %I grant usage, select on sequences to %s', schema.name, role);
            end if;
            granted := granted || format('%s on tables that %I will create in schema %I', array_to_string(wanted, ', '), current_user, schema.name);
        end if;
    end loop;
end
$$;
comment on function mcp._grant_access(regrole, text, text[], boolean) is
    'Grants a role what an access level means in some schemas; says what it granted, and what the current user may not grant';

create function mcp._drop_role(role regrole) returns text[]
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    name constant text := (select r.rolname from pg_roles r where r.oid = role);
    me constant record := (select r from (select p.rolsuper, p.rolcreaterole from pg_roles p where p.rolname = current_user) r);
    done text[] := '{}';
    count integer;
    item record;
    problem text;
begin
    if not (me.rolsuper or pg_has_role(current_user, role::oid, 'MEMBER WITH ADMIN OPTION')) then
        raise exception 'permission denied to drop role "%"', name
            using errcode = 'insufficient_privilege', hint = 'A superuser may do this, or a role with ADMIN OPTION on it.';
    end if;
    -- Whoever takes over what it owns must have its rights; version 16 and later do not give them with ADMIN OPTION.
    if not me.rolsuper and not pg_has_role(current_user, role::oid, 'USAGE') then
        execute format('grant %s to current_user with inherit true, set true', role);
    end if;

    delete from mcp._tokens t where t.role = _drop_role.role;
    get diagnostics count = row_count;
    if count > 0 then
        done := done || format('%s revoked', case count when 1 then '1 token' else count || ' tokens' end);
    end if;
    delete from mcp._peer_map p where p.role = _drop_role.role;
    delete from mcp._limits l where l.role = _drop_role.role;
    -- Its calls end now: they would hold the locks that what follows needs.
    perform pg_terminate_backend(a.pid) from pg_stat_activity a where a.usesysid = role::oid and a.pid <> pg_backend_pid();

    for item in
        select pg_describe_object(d.classid, d.objid, d.objsubid) as what
          from pg_shdepend d
         where d.refclassid = 'pg_authid'::regclass and d.refobjid = role::oid and d.deptype = 'o'
           and d.dbid in (0, (select b.oid from pg_database b where b.datname = current_database()))
           and not (d.classid = 'pg_class'::regclass
                    and exists (select from pg_class c where c.oid = d.objid and c.relpersistence = 't'))
         order by 1
    loop
        done := done || format('%s belongs to %I now', item.what, current_user);
    end loop;
    execute format('reassign owned by %s to current_user', role);
    -- The grants of the tools are the extension owner's, and nobody else's REVOKE would take them away.
    perform mcp.revoke_tools(role);
    -- Grants, default privileges and policies for it alone; it owns nothing any more.
    execute format('drop owned by %s', role);
    begin
        execute format('drop role %s', role);
    exception when dependent_objects_still_exist then
        get stacked diagnostics problem = pg_exception_detail;
        raise exception 'role "%" cannot be dropped, since something still depends on it', name
            using errcode = 'dependent_objects_still_exist', detail = problem,
                  hint = format('In each database that is named there, say: drop owned by %s; or have who granted it revoke it. Nothing was changed.', role);
    end;
    return done || format('role %I dropped, with its grants, default privileges and tools', name);
end
$$;
comment on function mcp._drop_role(regrole) is
    'Takes a role away with all that it was given; what it owns becomes the current user''s, and nothing that holds data is dropped';
