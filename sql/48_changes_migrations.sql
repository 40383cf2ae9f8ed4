-- Owns: the tools list_migrations and apply_migration, in names and shapes those of the Supabase MCP server, and the record they share
-- with the Supabase CLI: supabase_migrations.schema_migrations.
-- Runs: as the caller, who needs rights on that table as on any other.
-- Must not: keep a change without its record, or a record without its change: both are one transaction.

create function mcp._migration_columns() returns text[]
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    -- Older versions of the CLI made the table without name and statements; newer services add columns, which all may be null.
    select array_agg(a.attname::text order by a.attnum)
      from pg_class c
      join pg_namespace n on n.oid = c.relnamespace
      join pg_attribute a on a.attrelid = c.oid
     where n.nspname = 'supabase_migrations' and c.relname = 'schema_migrations'
       and c.relkind in ('r', 'p', 'v', 'f') and a.attnum > 0 and not a.attisdropped
$$;
comment on function mcp._migration_columns() is '@support The columns of the table of migrations; null if there is no such table';

create function mcp.list_migrations(after text default null) returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    columns constant text[] := mcp._migration_columns();
    answer jsonb;
    complete boolean;
begin
    if columns is null then
        return '{"migrations": []}';
    end if;
    begin
        execute format($sql$
            with listed as (
                select m.version, row_number() over (order by m.version) as place,
                       jsonb_strip_nulls(jsonb_build_object('version', m.version, 'name', %s)) as item
                  from supabase_migrations.schema_migrations m
                 where $1 is null or m.version > $1
            ), sized as (
                select l.*, l.place = 1 or sum(octet_length(l.item::text) + 2) over (order by l.place) <= mcp._byte_budget() as fits
                  from listed l
            )
            select jsonb_build_object('migrations', coalesce(jsonb_agg(s.item order by s.place) filter (where s.fits), '[]')),
                   coalesce(bool_and(s.fits), true)
              from sized s$sql$, case when 'name' = any (columns) then 'm.name' else 'null' end)
           into answer, complete using after;
    exception when insufficient_privilege then
        raise exception 'you may not read supabase_migrations.schema_migrations'
            using errcode = 'insufficient_privilege',
                  hint = format('An administrator grants it: grant usage on schema supabase_migrations to %1$I; grant select on supabase_migrations.schema_migrations to %1$I;', current_user);
    end;
    if not complete then
        answer := answer || jsonb_build_object('truncated', true, 'next', answer #>> '{migrations,-1,version}');
    end if;
    return answer;
end
$$;
comment on function mcp.list_migrations(text) is
'@mcp({"kind": "tool", "features": ["database"], "title": "List migrations", "output": {"migrations": "array"}})
Lists applied migrations, oldest first.';

create function mcp._check_migration(name text, version text) returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    columns constant text[] := mcp._migration_columns();
    wanted text;
    taken boolean;
begin
    if name is null or name !~ '^[a-z0-9]+(_[a-z0-9]+)*$' or length(name) > 200 then
        wanted := left(btrim(regexp_replace(lower(regexp_replace(coalesce(name, ''), '([a-z0-9])([A-Z])', '\1_\2', 'g')), '[^a-z0-9]+', '_', 'g'), '_'), 60);
        raise exception 'the name of a migration must be in snake_case'
            using errcode = 'invalid_parameter_value',
                  hint = case when wanted = '' then 'Say what it does, for example add_notes_to_orders.' else format('For example: %s', wanted) end;
    end if;
    if version !~ '^[0-9]{1,20}$' then
        raise exception 'the version of a migration must be digits only'
            using errcode = 'invalid_parameter_value',
                  hint = 'It is a time in UTC, such as 20260131235959. Leave it out for the present time.';
    end if;
    if columns is null then
        if not has_database_privilege(current_database(), 'CREATE')
           and not exists (select from pg_namespace n where n.nspname = 'supabase_migrations' and has_schema_privilege(n.oid, 'CREATE')) then
            raise exception 'there is no table of migrations, and you may not create it'
                using errcode = 'insufficient_privilege',
                      hint = format('An administrator runs once: create schema if not exists supabase_migrations; create table supabase_migrations.schema_migrations (version text not null primary key, statements text[], name text); grant usage on schema supabase_migrations to %1$I; grant select, insert on supabase_migrations.schema_migrations to %1$I;', current_user);
        end if;
    elsif version is not null then
        begin
            execute 'select exists (select from supabase_migrations.schema_migrations m where m.version = $1)' into taken using version;
        exception when insufficient_privilege then
            -- Whether it is taken shows when it is written.
            taken := false;
        end;
        if taken then
            perform mcp._version_taken(version);
        end if;
    end if;
end
$$;
comment on function mcp._check_migration(text, text) is '@support Raises if a migration cannot be recorded, before anything of it has run';

create function mcp._version_taken(version text) returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    raise exception 'there is a migration of version % already', version
        using errcode = 'unique_violation',
              hint = 'If it is this one, it has been applied. Else leave "version" out for the present time, or give another.';
end
$$;
comment on function mcp._version_taken(text) is '@support Raises: a migration of this version is recorded already';

create function mcp._record_migration(name text, query text, version text) returns text
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    columns text[] := mcp._migration_columns();
    moment timestamp := date_trunc('second', now() at time zone 'utc');
    chosen text := version;
    recorded bigint;
begin
    if columns is null then
        create schema if not exists supabase_migrations;
        create table if not exists supabase_migrations.schema_migrations (version text not null primary key, statements text[], name text);
    elsif not columns @> '{statements,name}' then
        alter table supabase_migrations.schema_migrations add column if not exists statements text[], add column if not exists name text;
    end if;
    loop
        if version is null then
            chosen := to_char(moment, 'YYYYMMDDHH24MISS');
        end if;
        -- Waits for another call that is about to record the same version.
        insert into supabase_migrations.schema_migrations (version, statements, name)
        values (chosen, mcp._statements(query), name) on conflict do nothing;
        get diagnostics recorded = row_count;
        exit when recorded > 0;
        if version is not null then
            perform mcp._version_taken(version);
        end if;
        moment := moment + interval '1 second';
    end loop;
    return chosen;
exception when insufficient_privilege then
    raise exception 'you may not record a migration in supabase_migrations.schema_migrations'
        using errcode = 'insufficient_privilege', detail = sqlerrm,
              hint = format('An administrator grants it: grant usage on schema supabase_migrations to %1$I; grant select, insert on supabase_migrations.schema_migrations to %1$I;', current_user);
end
$$;
comment on function mcp._record_migration(text, text, text) is
    '@support Records a migration, in a table that it makes if there is none, and returns its version: the given one, or the next free second';

create function mcp.apply_migration(name text, query text, version text default null, dry_run boolean default false) returns jsonb
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    perform mcp._check_may_write('apply_migration', query);
    perform mcp._check_migration(name, version);
    if dry_run then
        return '{"success": true, "dry_run": true}' || mcp._preview(query, null, name, version);
    end if;
    perform mcp._run_sql(query);
    return jsonb_build_object('success', true, 'version', mcp._record_migration(name, query, version));
end
$$;
comment on function mcp.apply_migration(text, text, text, boolean) is
'@mcp({"kind": "tool", "features": ["database"], "sql": true, "title": "Apply migration", "args": {"name": "snake_case"}, "output": {"success": "boolean"}})
Runs DDL and records it as a migration.';
