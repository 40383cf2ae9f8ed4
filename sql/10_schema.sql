-- Owns: the schema mcp, the roles mcp_admin and mcp_bridge, and the bridge's right to connect to this database.
-- Runs: once, in the session of the superuser who says "create extension supabase_mcp".
-- Must not: adopt a schema or a role that somebody else prepared.
--
-- The files of sql/ are joined in the order of their names into supabase_mcp--<version>.sql. They say CREATE, never
-- CREATE OR REPLACE: an object that is already there stops the installation instead of being taken over.

\echo Use "create extension supabase_mcp" to load this file. \quit

-- Postgres makes the schema named in the control file, or accepts one that is there already. Whoever could create in it
-- beforehand could leave functions that would later count as built-in tools, so only an empty schema that a superuser owns
-- will do. That is what DROP EXTENSION leaves behind, and what pg_dump creates before the extension.
do $$
declare
    schema_owner pg_catalog.regrole;
    leftover text;
    creator text;
begin
    select n.nspowner into schema_owner from pg_catalog.pg_namespace n where n.nspname operator(pg_catalog.=) 'mcp';
    if not (select r.rolsuper from pg_catalog.pg_roles r where r.oid operator(pg_catalog.=) schema_owner) then
        raise exception 'schema "mcp" belongs to %, who is not a superuser', schema_owner
            using errcode = 'object_not_in_prerequisite_state',
                  hint = 'Rename that schema, or drop it, and create the extension again.';
    end if;

    -- Every object in a schema depends on it; the extension itself does too by now.
    select pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid) into leftover
      from pg_catalog.pg_depend d
     where d.refclassid operator(pg_catalog.=) 'pg_catalog.pg_namespace'::pg_catalog.regclass
       and d.refobjid operator(pg_catalog.=) 'mcp'::pg_catalog.regnamespace::pg_catalog.oid
       and not exists (select from pg_catalog.pg_extension e
                        where d.classid operator(pg_catalog.=) 'pg_catalog.pg_extension'::pg_catalog.regclass
                          and e.oid operator(pg_catalog.=) d.objid
                          and e.extname operator(pg_catalog.=) 'supabase_mcp')
     order by 1
     limit 1;
    if leftover is not null then
        raise exception 'schema "mcp" is not empty: it holds %', leftover
            using errcode = 'object_not_in_prerequisite_state',
                  hint = 'Move what you want to keep to another schema, drop schema mcp, and create the extension again.';
    end if;

    select coalesce(r.rolname::pg_catalog.text, 'PUBLIC') into creator
      from pg_catalog.pg_namespace n
     cross join lateral pg_catalog.aclexplode(n.nspacl) a
      left join pg_catalog.pg_roles r on r.oid operator(pg_catalog.=) a.grantee
     where n.nspname operator(pg_catalog.=) 'mcp'
       and a.privilege_type operator(pg_catalog.=) 'CREATE'
       and a.grantee operator(pg_catalog.<>) n.nspowner
     limit 1;
    if creator is not null then
        raise exception '% may create objects in schema "mcp"', creator
            using errcode = 'object_not_in_prerequisite_state',
                  hint = pg_catalog.format('Say: revoke create on schema mcp from %s;', creator);
    end if;
end
$$;

comment on schema mcp is 'The MCP server of this database: its tools, tokens and switches (extension supabase_mcp)';

-- Roles belong to the whole cluster, so another database may have made them already. One that can do more than it should
-- is refused, not repaired: somebody gave it that power for a purpose that this script cannot know.
do $$
declare
    excess text;
begin
    if not exists (select from pg_catalog.pg_roles r where r.rolname operator(pg_catalog.=) 'mcp_admin') then
        create role mcp_admin nologin;
        comment on role mcp_admin is 'Members administer the MCP server: tokens, peer map, grants of tools, switches';
    end if;

    if not exists (select from pg_catalog.pg_roles r where r.rolname operator(pg_catalog.=) 'mcp_bridge') then
        -- Executors connect as this role before they become the caller's, so it must be able to log in. Background workers
        -- do not count towards CONNECTION LIMIT: 0 keeps every ordinary client out, whatever pg_hba.conf says.
        create role mcp_bridge login noinherit connection limit 0;
        comment on role mcp_bridge is 'The MCP server connects as this role on behalf of roles that cannot log in. It must never be granted anything but CONNECT';
    end if;

    select case
               when r.rolsuper then 'is a superuser'
               when r.rolbypassrls then 'has BYPASSRLS'
               when r.rolreplication then 'has REPLICATION'
               when r.rolcreaterole then 'has CREATEROLE'
               when r.rolcreatedb then 'has CREATEDB'
               when not r.rolcanlogin then 'is NOLOGIN'
               when r.rolinherit then 'has INHERIT'
               when exists (select from pg_catalog.pg_auth_members m where m.member operator(pg_catalog.=) r.oid)
                   then 'is a member of another role'
           end into excess
      from pg_catalog.pg_roles r
     where r.rolname operator(pg_catalog.=) 'mcp_bridge';
    if excess is not null then
        raise exception 'role "mcp_bridge" exists and %', excess
            using errcode = 'object_not_in_prerequisite_state',
                  hint = 'It must be LOGIN NOINHERIT, without any other attribute and without memberships.';
    end if;

    execute pg_catalog.format('grant connect on database %I to mcp_bridge', pg_catalog.current_database());
end
$$;
