-- What a Supabase database has of schema auth, as far as policies use it: the functions as Supabase publishes them, and a table with
-- policies in the form of its documentation. Made by the superuser; the roles are Supabase's.
create schema auth;

create function auth.uid() returns uuid language sql stable as $$
  select
  coalesce(
    nullif(current_setting('request.jwt.claim.sub', true), ''),
    (nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')
  )::uuid
$$;

create function auth.role() returns text language sql stable as $$
  select
  coalesce(
    nullif(current_setting('request.jwt.claim.role', true), ''),
    (nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'role')
  )::text
$$;

create function auth.email() returns text language sql stable as $$
  select
  coalesce(
    nullif(current_setting('request.jwt.claim.email', true), ''),
    (nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'email')
  )::text
$$;

create function auth.jwt() returns jsonb language sql stable as $$
  select
    coalesce(
        nullif(current_setting('request.jwt.claim', true), ''),
        nullif(current_setting('request.jwt.claims', true), '')
    )::jsonb
$$;

grant usage on schema auth to anon, authenticated, service_role;

create table public.todo (
  id bigint generated always as identity primary key,
  user_id uuid not null default auth.uid(),
  team text,
  body text not null
);
alter table public.todo enable row level security;
grant select, insert, update, delete on public.todo to anon, authenticated, service_role;
grant usage on schema public to anon, authenticated, service_role;

create policy "Users see their own" on public.todo for select to authenticated
  using ((select auth.uid()) = user_id);
create policy "Users write their own" on public.todo for insert to authenticated
  with check ((select auth.uid()) = user_id);
create policy "Teams see theirs" on public.todo for select to authenticated
  using (team is not null and team = ((select auth.jwt()) -> 'app_metadata' ->> 'team'));
create policy "Second factor to delete" on public.todo for delete to authenticated
  using ((select auth.jwt() ->> 'aal') = 'aal2' and (select auth.uid()) = user_id);
create policy "Anybody sees what is public" on public.todo for select to anon
  using (team = 'public' and (select auth.role()) = 'anon');

insert into public.todo (user_id, team, body) values
  ('11111111-1111-4111-8111-111111111111', null, 'of ada'),
  ('22222222-2222-4222-8222-222222222222', null, 'of bob'),
  ('22222222-2222-4222-8222-222222222222', 'red', 'of the red team'),
  ('22222222-2222-4222-8222-222222222222', 'public', 'of all');
