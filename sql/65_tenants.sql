-- Owns: the record of the tenants that mcp.create_tenant made, the walls around it, and the ways to a database of one's own.
-- Runs: in the sessions of administrators.
-- Must not: be what keeps tenants apart: that is databases, grants and policies.

create table mcp._tenants (
    name text primary key check (name operator(pg_catalog.<>) ''),
    kind text not null check (kind operator(pg_catalog.=) any (array['database', 'role', 'claim'])),
    -- By number, as in mcp._tokens. A database is known by number too: names change hands.
    role regrole not null,
    database oid,
    setting text,
    created_at timestamptz not null default pg_catalog.now(),
    created_by name not null default current_user,
    constraint _tenants_kind_fits check ((kind operator(pg_catalog.=) 'database') = (database is not null)
                                         and (kind operator(pg_catalog.=) 'claim') = (setting is not null))
);
comment on table mcp._tenants is 'Tenants that mcp.create_tenant made in or from this database. Read it through the view mcp.tenants';
comment on column mcp._tenants.name is 'Name of the tenant: of its database, of its role and schema, or the value of its claim';
comment on column mcp._tenants.kind is 'What keeps it apart: database, role or claim';
comment on column mcp._tenants.role is 'Role that its calls run as; shared among tenants that are a claim';
comment on column mcp._tenants.database is 'Database of its own; null for the other kinds';
comment on column mcp._tenants.setting is 'Setting that carries its claim; null for the other kinds';
comment on column mcp._tenants.created_at is 'When the tenant was made';
comment on column mcp._tenants.created_by is 'Role that made the tenant';
comment on constraint _tenants_pkey on mcp._tenants is 'A name is one tenant';
comment on constraint _tenants_name_check on mcp._tenants is 'An empty claim is what a caller without one has';
comment on constraint _tenants_kind_check on mcp._tenants is 'The three kinds that mcp.create_tenant knows';
comment on constraint _tenants_kind_fits on mcp._tenants is 'A database or a setting is there exactly for the kind that it makes';

alter table mcp._tenants enable row level security;
create policy see on mcp._tenants for select to mcp_admin using (true);
comment on policy see on mcp._tenants is 'Administrators see every tenant';
create policy forget on mcp._tenants for delete to mcp_admin using (true);
comment on policy forget on mcp._tenants is 'The record gives nobody anything';
create policy note on mcp._tenants for insert to mcp_admin with check (
    pg_catalog.pg_has_role(current_user, role::pg_catalog.oid, 'MEMBER WITH ADMIN OPTION')
    and created_by operator(pg_catalog.=) current_user);
comment on policy note on mcp._tenants is 'A tenant may be recorded only by who has ADMIN OPTION on its role';

-- Rows of roles that are gone stay out, as those of mcp._tokens do. A restored database has another number, so those stay out as well.
select pg_catalog.pg_extension_config_dump('mcp._tenants',
    'where database is null and exists (select from pg_catalog.pg_roles r where r.oid operator(pg_catalog.=) role::pg_catalog.oid)');

create view mcp.tenants with (security_invoker = true) as
    select t.name, t.kind, t.role, coalesce(d.datname, pg_catalog.current_database()) as database,
           case t.kind when 'role' then t.name end as schema, t.setting,
           case when t.kind operator(pg_catalog.=) 'database' then null
                else (select pg_catalog.count(*) from mcp._tokens k
                       where k.role operator(pg_catalog.=) t.role
                         and (t.kind operator(pg_catalog.=) 'role' or (k.settings operator(pg_catalog.->>) t.setting) operator(pg_catalog.=) t.name)
                         and (k.expires_at is null or k.expires_at operator(pg_catalog.>) pg_catalog.now())) end as tokens,
           case when r.oid is null then 'role dropped'
                when t.kind operator(pg_catalog.=) 'database' and d.oid is null then 'database dropped'
                else 'active' end as state,
           t.created_at, t.created_by
      from mcp._tenants t
      left join pg_catalog.pg_roles r on r.oid operator(pg_catalog.=) t.role::pg_catalog.oid
      left join pg_catalog.pg_database d on d.oid operator(pg_catalog.=) t.database;
comment on view mcp.tenants is 'Tenants that mcp.create_tenant made in or from this database';
comment on column mcp.tenants.name is 'Name of the tenant, for mcp.drop_tenant';
comment on column mcp.tenants.kind is 'What keeps it apart: database, role or claim';
comment on column mcp.tenants.role is 'Role that its calls run as';
comment on column mcp.tenants.database is 'Database that its calls run in';
comment on column mcp.tenants.schema is 'Schema of its own, for a tenant that is a role';
comment on column mcp.tenants.setting is 'Setting that carries its claim, for a tenant that is a claim';
comment on column mcp.tenants.tokens is 'Tokens that have not expired; null where they are in the tenant''s own database';
comment on column mcp.tenants.state is 'active, role dropped or database dropped';
comment on column mcp.tenants.created_at is 'When the tenant was made';
comment on column mcp.tenants.created_by is 'Role that made the tenant';

create function mcp._errand(database oid, statements text[]) returns text
    language c volatile strict parallel unsafe
    as 'MODULE_PATHNAME', 'supabase_mcp_errand_wrapper';
comment on function mcp._errand(oid, text[]) is
    'Runs statements one by one, each in a transaction of its own, in a process that is connected as the session''s own role; elsewhere only in databases which that role owns. JSON: value, or error';

create function mcp._send(database oid, variadic statements text[]) returns jsonb
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    answer constant jsonb := mcp._errand(database, statements);
    error constant jsonb := answer -> 'error';
begin
    if error is not null then
        raise exception using errcode = error ->> 'sqlstate', message = error ->> 'message',
                              detail = coalesce(error ->> 'detail', ''), hint = coalesce(error ->> 'hint', '');
    end if;
    return answer -> 'value';
end
$$;
comment on function mcp._send(oid, text[]) is 'As mcp._errand, and raises what went wrong';
