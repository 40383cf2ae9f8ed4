-- Owns: what an administrator tells the models that connect: for the whole database, and for the members of single roles.
-- Runs: mcp.set_instructions in an administrator's session; mcp._instructions as the caller, when a client connects.
-- Must not: show a role what was written for others.

create table mcp._instructions (
    role regrole unique,
    body text not null check (body operator(pg_catalog.<>) '' and pg_catalog.length(body) operator(pg_catalog.<=) 20000),
    changed_at timestamptz not null default pg_catalog.now(),
    changed_by name not null default current_user
);
comment on table mcp._instructions is 'Texts that clients give their models when they connect. Read and write them through mcp.instructions and mcp.set_instructions';
comment on column mcp._instructions.role is 'For members of this role; null for everybody';
comment on column mcp._instructions.body is 'The text';
comment on column mcp._instructions.changed_at is 'When it was last written';
comment on column mcp._instructions.changed_by is 'Role that wrote it last';
comment on constraint _instructions_role_key on mcp._instructions is 'One text for a role';
comment on constraint _instructions_body_check on mcp._instructions is 'A model reads all of it at every start';
create unique index _instructions_for_all on mcp._instructions ((role is null)) where role is null;
comment on index mcp._instructions_for_all is 'One text for everybody';

create trigger invalidate after insert or update or delete or truncate on mcp._instructions
    for each statement execute function mcp._invalidate();
comment on trigger invalidate on mcp._instructions is 'A changed text counts for the next client that connects';
alter table mcp._instructions enable always trigger invalidate;

alter table mcp._instructions enable row level security;
create policy own on mcp._instructions for select using (
    role is null or pg_catalog.pg_has_role(current_user, role::pg_catalog.oid, 'MEMBER'));
comment on policy own on mcp._instructions is 'A caller is told what is meant for it';
create policy administer on mcp._instructions to mcp_admin using (true) with check (changed_by operator(pg_catalog.=) current_user);
comment on policy administer on mcp._instructions is 'Administrators see and write every text, under their own names';

select pg_catalog.pg_extension_config_dump('mcp._instructions',
    'where role is null or exists (select from pg_catalog.pg_roles r where r.oid operator(pg_catalog.=) role::pg_catalog.oid)');

create view mcp.instructions with (security_invoker = true) as
    select i.role, i.body, i.changed_at, i.changed_by from mcp._instructions i;
comment on view mcp.instructions is 'What models are told about this database when they connect, besides what is true of every database';
comment on column mcp.instructions.role is 'For members of this role; null for everybody';
comment on column mcp.instructions.body is 'The text';
comment on column mcp.instructions.changed_at is 'When it was last written';
comment on column mcp.instructions.changed_by is 'Role that wrote it last';

create function mcp.set_instructions(body text, role regrole default null) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    if length(body) > 20000 then
        raise exception 'the instructions have % characters, and may have 20000', length(body)
            using errcode = 'string_data_right_truncation', hint = 'A model reads them at every start: say what matters for all its work here, and no more.';
    end if;
    if role is not null and not exists (select from pg_roles r where r.oid = role) then
        raise exception 'the role does not exist' using errcode = 'undefined_object';
    end if;
    delete from mcp._instructions i where i.role is not distinct from set_instructions.role;
    if btrim(coalesce(body, ''), E' \t\r\n') <> '' then
        insert into mcp._instructions (role, body) values (role, body);
    end if;
end
$$;
comment on function mcp.set_instructions(text, regrole) is
    'Sets what models are told about this database when they connect, or the members of a role besides; an empty text takes it away';

create function mcp._instructions() returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    -- From the general to the particular. Superusers are members of every role, so membership is asked of the catalogs.
    select to_jsonb(string_agg(i.body, E'\n\n' order by i.role is not null, i.role = current_user::regrole, i.role::text))
      from mcp._instructions i
     where i.role is null or pg_has_role(current_user, i.role::oid, 'MEMBER')
$$;
comment on function mcp._instructions() is '@support What the current user''s models are to be told; null if nothing was set';
