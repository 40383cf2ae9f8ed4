-- Owns: the schema storage: buckets and objects, and the functions that policies on objects use.
-- Runs: once, as supabase_admin, after 30_auth.sql.
-- Must not: have a policy: without one nobody of the API sees a row.
--
-- After the public shape of supabase/storage (migrations/tenant).

create schema storage authorization supabase_admin;
grant usage on schema storage to postgres, anon, authenticated, service_role;
grant all on schema storage to supabase_storage_admin;
alter default privileges for role postgres, supabase_storage_admin in schema storage
    grant all on tables to postgres, anon, authenticated, service_role;
alter default privileges for role postgres, supabase_storage_admin in schema storage
    grant all on functions to postgres, anon, authenticated, service_role;

create table storage.buckets (
    id text primary key, name text not null unique, owner uuid, created_at timestamptz default now(), updated_at timestamptz default now(),
    public boolean default false, avif_autodetection boolean default false, file_size_limit bigint, allowed_mime_types text[], owner_id text);
create table storage.objects (
    id uuid primary key default gen_random_uuid(), bucket_id text references storage.buckets, name text, owner uuid,
    created_at timestamptz default now(), updated_at timestamptz default now(), last_accessed_at timestamptz default now(), metadata jsonb,
    path_tokens text[] generated always as (string_to_array(name, '/')) stored, version text, owner_id text, user_metadata jsonb);
create unique index bucketid_objname on storage.objects (bucket_id, name);
create table storage.migrations (id integer primary key, name varchar(100) not null unique, hash varchar(40) not null, executed_at timestamp default now());

create function storage.foldername(name text) returns text[] language sql immutable as $$
    select p[1:array_length(p, 1) - 1] from string_to_array(name, '/') p
$$;
create function storage.filename(name text) returns text language sql immutable as $$
    select p[array_length(p, 1)] from string_to_array(name, '/') p
$$;
create function storage.extension(name text) returns text language sql immutable as $$
    select reverse(split_part(reverse(storage.filename(name)), '.', 1))
$$;

alter table storage.buckets enable row level security;
alter table storage.objects enable row level security;
alter table storage.buckets owner to supabase_storage_admin;
alter table storage.objects owner to supabase_storage_admin;
alter table storage.migrations owner to supabase_storage_admin;
grant all on storage.buckets, storage.objects to anon, authenticated, service_role;
grant all on storage.buckets, storage.objects to postgres with grant option;
grant execute on all functions in schema storage to postgres, anon, authenticated, service_role;

insert into storage.buckets (id, name) values ('papers', 'papers');
insert into storage.objects (bucket_id, name, owner_id) values ('papers', 'ada/passport.pdf', '00000000-0000-0000-0000-00000000000a');
