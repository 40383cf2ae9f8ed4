-- Owns: who may call: the tables of tokens and of peers, and the walls around them.
-- Runs: in the sessions of administrators; the keeper process reads the tables.
-- Must not: show a token's hash, or let an administrator hand out a role that is not theirs to give.
--
-- The rules are row-level security, not code in SECURITY DEFINER functions: a policy judges the true current user, also
-- when a function of somebody else stands between, and it holds for plain INSERT and DELETE as well. An administrator with BYPASSRLS
-- (`postgres` on Supabase) passes policies by, so what may be given is a trigger too.

create function mcp._settings_fault(settings jsonb) returns text
language plpgsql immutable strict
set search_path = pg_catalog, pg_temp
as $$
declare
    item record;
begin
    if jsonb_typeof(settings) <> 'object' then
        return 'settings must be an object of names and texts';
    end if;
    if (select count(*) from jsonb_object_keys(settings)) > 100 or length(settings::text) > 65536 then
        return 'settings may hold 100 names and 64 kB';
    end if;
    for item in select * from jsonb_each(settings) loop
        -- One spelling: names of settings are the same in capitals, and two would be two here.
        if item.key !~ '^[a-z_][a-z0-9_$]*([.][a-z_][a-z0-9_$]*)+$' or length(item.key) > 200 then
            return format('"%s" cannot be the name of a setting: it takes a prefix and a name in lower case, such as app.tenant_id', item.key);
        end if;
        if starts_with(item.key, 'supabase_mcp.') or item.key in ('request.headers', 'request.method', 'request.path') then
            return format('"%s" is set by the server itself', item.key);
        end if;
    end loop;
    return null;
end
$$;
comment on function mcp._settings_fault(jsonb) is 'What is wrong with the settings of a token; null if nothing is';

create function mcp._are_names(names text[]) returns boolean
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
    select names is null
           or cardinality(names) between 1 and 64 and not exists (select from unnest(names) n where n is null or n !~ '^[A-Za-z0-9_.-]{1,128}$')
$$;
comment on function mcp._are_names(text[]) is 'Whether all of a list are names as features and tools have them; true of null, not of an empty list';

create table mcp._tokens (
    id bigint generated always as identity primary key,
    hash bytea not null unique check (pg_catalog.octet_length(hash) operator(pg_catalog.=) 32),
    -- regrole and not a name: a token follows its role through a rename, and never falls to a later role of the same name.
    role regrole not null,
    label text unique check (label operator(pg_catalog.<>) ''),
    expires_at timestamptz,
    read_only boolean not null default false,
    settings jsonb not null default '{}' check (mcp._settings_fault(settings) is null),
    features text[] check (mcp._are_names(features)),
    created_at timestamptz not null default pg_catalog.now(),
    created_by name not null default current_user
);
comment on table mcp._tokens is 'Bearer tokens. Read them through the view mcp.tokens, make them with mcp.create_token';
comment on column mcp._tokens.id is 'Number of the token; appears in logs instead of the token';
comment on column mcp._tokens.hash is 'SHA-256 of the token''s text, which itself is stored nowhere';
comment on column mcp._tokens.role is 'Role that a call with this token runs as';
comment on column mcp._tokens.label is 'What the token is for, in the words of whoever made it; unique, to revoke it by';
comment on column mcp._tokens.expires_at is 'From this time on the token is refused; null for never';
comment on column mcp._tokens.read_only is 'Calls with this token run read-only whatever the role may do';
comment on column mcp._tokens.settings is 'Settings by name that calls with this token can read and not change, such as app.tenant_id';
comment on column mcp._tokens.features is 'Names of features and of tools that calls with this token are kept to; null for all that the role may use';
comment on column mcp._tokens.created_at is 'When the token was made';
comment on column mcp._tokens.created_by is 'Role that made the token';
comment on constraint _tokens_pkey on mcp._tokens is 'Tokens are known by number';
comment on constraint _tokens_hash_key on mcp._tokens is 'The look-up of every call goes through this index';
comment on constraint _tokens_hash_check on mcp._tokens is 'SHA-256 has 32 bytes';
comment on constraint _tokens_label_key on mcp._tokens is 'A label names one token, so that revoking by label is unambiguous';
comment on constraint _tokens_label_check on mcp._tokens is 'No label is null, not an empty text';
comment on constraint _tokens_settings_check on mcp._tokens is 'Names and values are such that an executor can take them on';
comment on constraint _tokens_features_check on mcp._tokens is 'A list of names as features and tools have them, and not an empty one';
comment on sequence mcp._tokens_id_seq is 'Numbers of mcp._tokens';

create table mcp._peer_map (
    os_user text primary key check (os_user operator(pg_catalog.<>) ''),
    role regrole not null,
    created_at timestamptz not null default pg_catalog.now(),
    created_by name not null default current_user
);
comment on table mcp._peer_map is 'Operating system users that may call through the Unix socket. Read it through the view mcp.peer_map';
comment on column mcp._peer_map.os_user is 'Name of the operating system user; digits alone are a user id, for users without a name (containers)';
comment on column mcp._peer_map.role is 'Role that the user''s calls run as';
comment on column mcp._peer_map.created_at is 'When the entry was made';
comment on column mcp._peer_map.created_by is 'Role that made the entry';
comment on constraint _peer_map_pkey on mcp._peer_map is 'A user stands for one role';
comment on constraint _peer_map_os_user_check on mcp._peer_map is 'An empty name would match nobody';

-- Apart from mcp._tokens and without a trigger, so that it costs the callers nothing. Not unlogged: a standby could not read it.
create table mcp._token_use (
    token bigint primary key references mcp._tokens on delete cascade,
    last_used_at timestamptz not null
);
comment on table mcp._token_use is 'When tokens were last used, as the gateway remembers it; written now and then by the keeper process';
comment on column mcp._token_use.token is 'The token';
comment on column mcp._token_use.last_used_at is 'Time of its last call, up to half a minute behind';
comment on constraint _token_use_pkey on mcp._token_use is 'One time for a token';
comment on constraint _token_use_token_fkey on mcp._token_use is 'A revoked token leaves nothing behind';

create function mcp._give() returns trigger
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    if not (select r.rolsuper from pg_roles r where r.rolname = current_user)
       and (new.role::oid = current_user::regrole::oid or not pg_has_role(current_user, new.role::oid, 'MEMBER WITH ADMIN OPTION')) then
        raise exception 'permission denied to give access as role %', new.role
            using errcode = 'insufficient_privilege', hint = format('A superuser, or another role with ADMIN OPTION on %s, may do this.', new.role);
    end if;
    return null;
end
$$;
comment on function mcp._give() is 'Raises when whoever adds the row may not hand out access as its role; for those whom policies do not bind';

create trigger give after insert on mcp._tokens for each row execute function mcp._give();
comment on trigger give on mcp._tokens is 'What the policy of the same name says, for a maker with BYPASSRLS';
create trigger give after insert on mcp._peer_map for each row execute function mcp._give();
comment on trigger give on mcp._peer_map is 'What the policy of the same name says, for a maker with BYPASSRLS';

create trigger invalidate after insert or update or delete or truncate on mcp._tokens
    for each statement execute function mcp._invalidate();
comment on trigger invalidate on mcp._tokens is 'A revoked or changed token counts from the next call on';
create trigger invalidate after insert or update or delete or truncate on mcp._peer_map
    for each statement execute function mcp._invalidate();
comment on trigger invalidate on mcp._peer_map is 'A changed entry counts from the next call on';

-- ALWAYS: session_replication_role switches the others off, and it can be granted (supautils lets `postgres` set it).
alter table mcp._tokens enable always trigger give, enable always trigger invalidate;
alter table mcp._peer_map enable always trigger give, enable always trigger invalidate;

-- Members of mcp_admin may see and take away everything, and give only roles on which they have ADMIN OPTION. A role
-- itself is left out: PostgreSQL 15 lets a session administer its own role, later versions do not.
alter table mcp._tokens enable row level security;
create policy see on mcp._tokens for select to mcp_admin using (true);
comment on policy see on mcp._tokens is 'Administrators see every token (its hash is kept from them by column privileges)';
create policy revoke on mcp._tokens for delete to mcp_admin using (true);
comment on policy revoke on mcp._tokens is 'Taking access away is always allowed to an administrator';
create policy give on mcp._tokens for insert to mcp_admin with check (
    pg_catalog.pg_has_role(current_user, role::pg_catalog.oid, 'MEMBER WITH ADMIN OPTION')
    and role::pg_catalog.oid operator(pg_catalog.<>) current_user::pg_catalog.regrole::pg_catalog.oid
    and created_by operator(pg_catalog.=) current_user);
comment on policy give on mcp._tokens is 'A token may be made only for a role on which its maker has ADMIN OPTION';

alter table mcp._peer_map enable row level security;
create policy see on mcp._peer_map for select to mcp_admin using (true);
comment on policy see on mcp._peer_map is 'Administrators see every entry';
create policy revoke on mcp._peer_map for delete to mcp_admin using (true);
comment on policy revoke on mcp._peer_map is 'Taking access away is always allowed to an administrator';
create policy give on mcp._peer_map for insert to mcp_admin with check (
    pg_catalog.pg_has_role(current_user, role::pg_catalog.oid, 'MEMBER WITH ADMIN OPTION')
    and role::pg_catalog.oid operator(pg_catalog.<>) current_user::pg_catalog.regrole::pg_catalog.oid
    and created_by operator(pg_catalog.=) current_user);
comment on policy give on mcp._peer_map is 'A user may be mapped only to a role on which the mapper has ADMIN OPTION';

-- pg_dump keeps these rows. Those of roles that are gone stay out: they would be restored by number, and that number may be
-- another role's by then.
select pg_catalog.pg_extension_config_dump('mcp._tokens',
    'where exists (select from pg_catalog.pg_roles r where r.oid operator(pg_catalog.=) role::pg_catalog.oid)');
select pg_catalog.pg_extension_config_dump('mcp._tokens_id_seq', '');
select pg_catalog.pg_extension_config_dump('mcp._peer_map',
    'where exists (select from pg_catalog.pg_roles r where r.oid operator(pg_catalog.=) role::pg_catalog.oid)');

-- security_invoker: the policies above must judge the reader, not the views' owner.
create view mcp.tokens with (security_invoker = true) as
    select t.id, t.label, t.role, t.read_only, t.settings, t.features, t.expires_at,
           case
               when r.oid is null then 'role dropped'
               when t.expires_at operator(pg_catalog.<=) pg_catalog.now() then 'expired'
               else 'active'
           end as state,
           u.last_used_at,
           t.created_at, t.created_by
      from mcp._tokens t
      left join mcp._token_use u on u.token operator(pg_catalog.=) t.id
      left join pg_catalog.pg_roles r on r.oid operator(pg_catalog.=) t.role::pg_catalog.oid;
comment on view mcp.tokens is 'Bearer tokens and the roles they stand for; never the tokens themselves';
comment on column mcp.tokens.id is 'Number of the token, for mcp.revoke_token';
comment on column mcp.tokens.label is 'What the token is for';
comment on column mcp.tokens.role is 'Role that a call with this token runs as';
comment on column mcp.tokens.read_only is 'Whether calls with this token are kept read-only';
comment on column mcp.tokens.settings is 'Settings that calls with this token can read and not change';
comment on column mcp.tokens.features is 'Features and tools that calls with this token are kept to; null for all that the role may use';
comment on column mcp.tokens.expires_at is 'From this time on the token is refused; null for never';
comment on column mcp.tokens.state is 'active, expired or role dropped; the last two are refused';
comment on column mcp.tokens.last_used_at is 'Time of its last call, half a minute behind at times; null if none is remembered (uses of a standby are not)';
comment on column mcp.tokens.created_at is 'When the token was made';
comment on column mcp.tokens.created_by is 'Role that made the token';

create view mcp.peer_map with (security_invoker = true) as
    select p.os_user, p.role, p.created_at, p.created_by from mcp._peer_map p;
comment on view mcp.peer_map is 'Operating system users that may call through the Unix socket, and the roles they become';
comment on column mcp.peer_map.os_user is 'Name of the operating system user, or its number';
comment on column mcp.peer_map.role is 'Role that the user''s calls run as';
comment on column mcp.peer_map.created_at is 'When the entry was made';
comment on column mcp.peer_map.created_by is 'Role that made the entry';
