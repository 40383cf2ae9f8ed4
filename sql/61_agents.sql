-- Owns: the record of the agents that mcp.create_agent made, the walls around it, and the view that shows what each may do by now.
-- Runs: in the sessions of administrators.
-- Must not: be taken for what an agent may do: the catalogs say that, and the view reads them.

create table mcp._agents (
    -- regrole and not a name, as in mcp._tokens.
    role regrole primary key,
    access text not null check (access operator(pg_catalog.=) any (array['read', 'write', 'admin'])),
    schemas name[] not null,
    created_at timestamptz not null default pg_catalog.now(),
    created_by name not null default current_user
);
comment on table mcp._agents is 'Roles that mcp.create_agent made. Read it through the view mcp.agents';
comment on column mcp._agents.role is 'Role of the agent';
comment on column mcp._agents.access is 'What was asked for: read, write or admin';
comment on column mcp._agents.schemas is 'Schemas that it was asked for';
comment on column mcp._agents.created_at is 'When the agent was made';
comment on column mcp._agents.created_by is 'Role that made the agent';
comment on constraint _agents_pkey on mcp._agents is 'A role is one agent';
comment on constraint _agents_access_check on mcp._agents is 'The three levels that mcp.create_agent knows';

alter table mcp._agents enable row level security;
create policy see on mcp._agents for select to mcp_admin using (true);
comment on policy see on mcp._agents is 'Administrators see every agent';
create policy forget on mcp._agents for delete to mcp_admin using (true);
comment on policy forget on mcp._agents is 'The record gives nobody anything; dropping the role is for who administers it';
create policy note on mcp._agents for insert to mcp_admin with check (
    pg_catalog.pg_has_role(current_user, role::pg_catalog.oid, 'MEMBER WITH ADMIN OPTION')
    and created_by operator(pg_catalog.=) current_user);
comment on policy note on mcp._agents is 'An agent may be recorded only by who has ADMIN OPTION on its role';

-- Rows of roles that are gone stay out, as those of mcp._tokens do.
select pg_catalog.pg_extension_config_dump('mcp._agents',
    'where exists (select from pg_catalog.pg_roles r where r.oid operator(pg_catalog.=) role::pg_catalog.oid)');

create function mcp._open_schemas(role oid) returns table (oid oid, name name)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select n.oid, n.nspname
      from pg_namespace n
     where n.nspname not in ('pg_catalog', 'information_schema', 'mcp')
       and n.nspname !~ '^pg_(toast|temp)'
       and has_schema_privilege(role, n.oid, 'USAGE')
$$;
comment on function mcp._open_schemas(oid) is 'The schemas that a role may use, but for those of PostgreSQL and of this extension';

create function mcp._may_touch(role oid, privileges text) returns text[]
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select coalesce(array_agg(format('%I.%I', s.name, c.relname) order by s.name, c.relname), '{}')
      from mcp._open_schemas(role) s
      join pg_class c on c.relnamespace = s.oid
     where c.relkind in ('r', 'p', 'v', 'm', 'f')
       and (has_table_privilege(role, c.oid, privileges)
            -- A column is enough; there is no DELETE of one.
            or has_any_column_privilege(role, c.oid, regexp_replace(privileges, ',\s*(DELETE|TRUNCATE)', '', 'g')))
$$;
comment on function mcp._may_touch(oid, text) is 'Tables and views on which a role has one of these privileges, by whatever way it came by it';

create view mcp.agents with (security_invoker = true) as
    select coalesce(r.rolname, a.role::pg_catalog.text::pg_catalog.name) as name,
           a.access, a.schemas,
           t.tools, coalesce(t.writes, false) as writes,
           case when r.oid is not null then mcp._may_touch(r.oid, 'SELECT') end as can_read,
           case when r.oid is not null then mcp._may_touch(r.oid, 'INSERT, UPDATE, DELETE, TRUNCATE') end as can_change,
           coalesce(k.tokens, 0) as tokens, k.expires_at,
           s.settings,
           case when r.oid is null then 'role dropped'
                when coalesce(k.tokens, 0) operator(pg_catalog.=) 0 then 'no token'
                else 'active' end as state,
           a.created_at, a.created_by
      from mcp._agents a
      left join pg_catalog.pg_roles r on r.oid operator(pg_catalog.=) a.role::pg_catalog.oid
      left join lateral (
          select pg_catalog.array_agg(b.tool order by b.tool) filter (where b.tool operator(pg_catalog.<>) 'execute_sql_write') as tools, pg_catalog.bool_or(b.writes) as writes
            from mcp._builtin_tools() b
           where r.oid is not null and pg_catalog.has_function_privilege(r.oid, b.function::pg_catalog.oid, 'EXECUTE')) t on true
      left join lateral (
          select pg_catalog.count(*) as tokens, pg_catalog.min(k.expires_at) as expires_at
            from mcp._tokens k
           where k.role operator(pg_catalog.=) a.role
             and (k.expires_at is null or k.expires_at operator(pg_catalog.>) pg_catalog.now())) k on true
      left join lateral (
          select d.setconfig as settings from pg_catalog.pg_db_role_setting d
           where d.setrole operator(pg_catalog.=) r.oid and d.setdatabase operator(pg_catalog.=) 0) s on true;
comment on view mcp.agents is 'The agents that mcp.create_agent made, and what each of them may do by now, as the catalogs say';
comment on column mcp.agents.name is 'Role of the agent, for mcp.drop_agent';
comment on column mcp.agents.access is 'What was asked for: read, write or admin';
comment on column mcp.agents.schemas is 'Schemas that it was asked for';
comment on column mcp.agents.tools is 'Built-in tools that it has now';
comment on column mcp.agents.writes is 'Whether execute_sql may write for it now';
comment on column mcp.agents.can_read is 'Tables and views that it can read now, also through PUBLIC or a membership';
comment on column mcp.agents.can_change is 'Tables and views that it can change now, also through PUBLIC or a membership';
comment on column mcp.agents.tokens is 'Tokens that stand for it and have not expired';
comment on column mcp.agents.expires_at is 'When the first of them expires; null for never';
comment on column mcp.agents.settings is 'Settings that ALTER ROLE gave it';
comment on column mcp.agents.state is 'active, no token or role dropped';
comment on column mcp.agents.created_at is 'When the agent was made';
comment on column mcp.agents.created_by is 'Role that made the agent';
