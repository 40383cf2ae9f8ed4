-- Owns: a small project, as its developer makes one: users who signed up, tables in public with policies, and one table where policies were forgotten.
-- Runs: once, as `postgres`, which is not a superuser.
-- Must not: grant anything: the default privileges of 20_schemas.sql have done so.

create schema supabase_migrations;
create table supabase_migrations.schema_migrations (version text primary key, statements text[], name text);
insert into supabase_migrations.schema_migrations (version, name) values ('20260102030405', 'create_todos');

insert into auth.users (id, aud, role, email, encrypted_password, created_at) values
    ('00000000-0000-0000-0000-00000000000a', 'authenticated', 'authenticated', 'ada@example.org', 'a hash', now()),
    ('00000000-0000-0000-0000-00000000000b', 'authenticated', 'authenticated', 'bob@example.org', 'a hash', now());

create table public.profile (id uuid primary key references auth.users on delete cascade, name text not null);
alter table public.profile enable row level security;
create policy "everybody sees profiles" on public.profile for select using (true);
create policy "one's own is one's own" on public.profile for update to authenticated
    using ((select auth.uid()) = id) with check ((select auth.uid()) = id);
insert into public.profile values ('00000000-0000-0000-0000-00000000000a', 'Ada'), ('00000000-0000-0000-0000-00000000000b', 'Bob');

create table public.todo (
    id bigint generated always as identity primary key, user_id uuid not null default auth.uid() references auth.users, task text not null,
    done boolean not null default false);
comment on table public.todo is 'What users mean to do';
alter table public.todo enable row level security;
create policy "users see theirs" on public.todo for select to authenticated using (auth.uid() = user_id);
create policy "users add theirs" on public.todo for insert to authenticated with check (auth.uid() = user_id);
create policy "with a second factor only" on public.todo for delete to authenticated
    using (auth.uid() = user_id and auth.jwt() ->> 'aal' = 'aal2');
insert into public.todo (user_id, task) values
    ('00000000-0000-0000-0000-00000000000a', 'of ada'), ('00000000-0000-0000-0000-00000000000a', 'also of ada'),
    ('00000000-0000-0000-0000-00000000000b', 'of bob');

create table public.forgotten (note text);
insert into public.forgotten values ('no row-level security here');
