-- Owns: the lints about row level security and its policies.
-- Runs: as the caller; policies are readable by everybody.
-- Must not: evaluate a policy's expression; it is read as text.

create function mcp._lint_policies() returns table (relation oid, policy name, is_permissive boolean, command text, roles oid[], role_names text[],
                                                    using_text text, check_text text)
language sql stable rows 1000
set search_path = pg_catalog, pg_temp
as $$
    select p.polrelid, p.polname, p.polpermissive,
           case p.polcmd when 'r' then 'SELECT' when 'a' then 'INSERT' when 'w' then 'UPDATE' when 'd' then 'DELETE' else 'ALL' end,
           p.polroles,
           array(select case when u.role = 0 then 'public' else pg_get_userbyid(u.role)::text end
                   from unnest(p.polroles) with ordinality as u (role, place) order by u.place),
           pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid)
      from pg_policy p
$$;
comment on function mcp._lint_policies() is '@support All policies, with their expressions as text';

create function mcp._lint_called_per_row(expression text) returns boolean
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
declare
    calls constant text := '(auth\.(uid|jwt|role|email)|\ycurrent_setting)\s*[(\[]';
    rest text;
    before text;
begin
    if expression is null or expression !~ calls then
        return false;
    end if;
    -- Parentheses and words within quotes would mislead.
    rest := case when expression ~ '[''"]'
                 then regexp_replace(regexp_replace(expression, '''([^'']|'''')*''', '''''', 'g'), '"([^"]|"")*"', 'q', 'g') else expression end;
    -- Most policies are told apart here, without taking them to pieces.
    rest := regexp_replace(rest, '\( SELECT auth\.\w+\(\) AS \w+\)', '', 'g');
    if rest !~ calls then
        return false;
    elsif strpos(rest, '( SELECT ') = 0 then
        return true;
    end if;
    -- From the innermost parentheses outwards: a sub-select without FROM is computed once, and taken out; all others are marked as seen.
    -- Nobody nests a hundred of them; who does, to cost us time, is judged by what is left.
    for round in 1 .. 100 loop
        before := rest;
        rest := regexp_replace(rest, '\(\s*SELECT\y((?!\yFROM\y)[^()])*\)', '', 'g');
        rest := regexp_replace(rest, '\(((?!\s*SELECT\y)[^()]*|\s*SELECT\y[^()]*\yFROM\y[^()]*)\)', '[\1]', 'g');
        exit when rest = before;
    end loop;
    return rest ~ calls;
end
$$;
comment on function mcp._lint_called_per_row(text) is
    '@support Whether an expression of a policy calls auth.<function>() or current_setting() outside of a sub-select that is computed once for the whole query';

create function mcp._lint_auth_rls_initplan() returns table (detail text, metadata jsonb, key text)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    -- Policies on realtime.messages are the project's own.
    select format('Table `%I.%I` has a row level security policy `%s` that re-evaluates current_setting() or auth.<function>() for each row. This produces suboptimal query performance at scale. Resolve the issue by replacing `auth.<function>()` with `(select auth.<function>())`. See [docs](https://supabase.com/docs/guides/database/postgres/row-level-security#call-functions-with-select) for more info.',
                  n.nspname, c.relname, p.policy),
           jsonb_build_object('schema', n.nspname, 'name', c.relname, 'type', 'table'),
           format('%I.%I.%I', n.nspname, c.relname, p.policy)
      from mcp._lint_policies() p
      join pg_class c on c.oid = p.relation
      join pg_namespace n on n.oid = c.relnamespace
     where c.relrowsecurity
       and (n.nspname = 'realtime' or n.oid in (select s.schema from mcp._lint_schemas() s))
       and concat_ws(' ', p.using_text, p.check_text) ~ 'auth\.|current_setting'
       and (mcp._lint_called_per_row(p.using_text) or mcp._lint_called_per_row(p.check_text))
$$;
comment on function mcp._lint_auth_rls_initplan() is '@support Lint 0003: policies that ask who is calling for each row instead of once';

create function mcp._lint_multiple_permissive_policies() returns table (detail text, metadata jsonb, key text)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    -- Policies for everybody are named once, for "public", and not for every role that exists; a role is named if one of its policies names it.
    with single as (
        select p.polrelid, p.polname, u.role, a.command
          from pg_policy p
         cross join unnest(p.polroles) as u (role)
         cross join unnest(case p.polcmd when 'r' then array['SELECT'] when 'a' then array['INSERT'] when 'w' then array['UPDATE']
                                         when 'd' then array['DELETE'] else array['SELECT', 'INSERT', 'UPDATE', 'DELETE'] end) as a (command)
         where p.polpermissive
    ), combined as (
        select w.polrelid, w.role, w.command, array_agg(distinct s.polname::text order by s.polname::text) as names
          from (select distinct polrelid, role, command from single) w
          join single s on s.polrelid = w.polrelid and s.command = w.command and s.role in (w.role, 0)
         group by w.polrelid, w.role, w.command
        having count(distinct s.polname) > 1
    )
    select format('Table `%s` has multiple permissive policies for role `%s` for action `%s`. Policies include `%s`',
                  t.label, coalesce(r.rolname, 'public'), c.command, c.names),
           jsonb_build_object('schema', t.schema, 'name', t.name, 'type', 'table'),
           format('%s.%I.%s', t.label, coalesce(r.rolname, 'public'), c.command)
      from combined c
      join mcp._lint_relations('rp') t on t.relation = c.polrelid
      left join pg_roles r on r.oid = c.role
     where not t.is_member
       and (c.role = 0 or r.rolname !~ '^pg_' and r.rolname !~ '^supabase.*admin$' and not r.rolbypassrls)
$$;
comment on function mcp._lint_multiple_permissive_policies() is '@support Lint 0006: several permissive policies for one role and action';

create function mcp._lint_policy_exists_rls_disabled() returns table (detail text, metadata jsonb, key text)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select format('Table `%s` has RLS policies but RLS is not enabled on the table. Policies include %s.', r.label,
                  array_agg(p.polname order by p.polname)),
           jsonb_build_object('schema', r.schema, 'name', r.name, 'type', 'table'),
           r.label
      from mcp._lint_relations('rp') r
      join pg_policy p on p.polrelid = r.relation
     where not r.rls
       and not r.is_member
     group by r.label, r.schema, r.name
$$;
comment on function mcp._lint_policy_exists_rls_disabled() is '@support Lint 0007: policies without effect, since row level security is off';

create function mcp._lint_rls_enabled_no_policy() returns table (detail text, metadata jsonb, key text)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select format('Table `%s` has RLS enabled, but no policies exist', r.label),
           jsonb_build_object('schema', r.schema, 'name', r.name, 'type', 'table'),
           r.label
      from mcp._lint_relations('rp') r
     where r.rls
       and not r.is_member
       and not exists (select from pg_policy p where p.polrelid = r.relation)
$$;
comment on function mcp._lint_rls_enabled_no_policy() is '@support Lint 0008: tables of which nobody but the owner sees a row';

create function mcp._lint_rls_disabled_in_public() returns table (detail text, metadata jsonb, key text)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select format('Table `%s` is public, but RLS has not been enabled.', r.label),
           jsonb_build_object('schema', r.schema, 'name', r.name, 'type', 'table'),
           r.label
      from mcp._lint_relations('rp', true) r
     where not r.rls
$$;
comment on function mcp._lint_rls_disabled_in_public() is '@support Lint 0013: tables that end users read without row level security';

create function mcp._lint_rls_references_user_metadata() returns table (detail text, metadata jsonb, key text)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select format('Table `%s` has a row level security policy `%s` that references Supabase Auth `user_metadata`. `user_metadata` is editable by end users and should never be used in a security context.',
                  r.label, p.policy),
           jsonb_build_object('schema', r.schema, 'name', r.name, 'type', 'table'),
           format('%s.%I', r.label, p.policy)
      from mcp._lint_policies() p
      join mcp._lint_relations('rp') r on r.relation = p.relation
     where exists (select from unnest(array[p.using_text, p.check_text]) as u (expression)
                    where u.expression like '%auth.jwt()%user\_metadata%'
                       or u.expression like '%current\_setting(%request.jwt.claims%)%user\_metadata%')
$$;
comment on function mcp._lint_rls_references_user_metadata() is '@support Lint 0015: policies that trust what users write into their own tokens';

create function mcp._lint_rls_policy_always_true() returns table (detail text, metadata jsonb, key text)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    -- A policy without WITH CHECK uses its USING for what is written; INSERT has none to use.
    with judged as (
        select p.*, r.label, r.schema, r.name,
               p.command in ('UPDATE', 'DELETE', 'ALL') and (p.using_text is null or w.using_true) as free_using,
               w.check_true
               or p.check_text is null and (p.command = 'INSERT' or p.command in ('UPDATE', 'ALL') and w.using_true) as free_check
          from mcp._lint_policies() p
          join mcp._lint_relations('rp') r on r.relation = p.relation
         cross join lateral (select coalesce(regexp_replace(lower(p.using_text), '\s', '', 'g') in ('true', '(true)', '1=1', '(1=1)'), false) as using_true,
                                    coalesce(regexp_replace(lower(p.check_text), '\s', '', 'g') in ('true', '(true)', '1=1', '(1=1)'), false) as check_true) w
         where r.rls
           and p.is_permissive
           and p.roles && (array[0::oid] || (select mcp._lint_roles()))
    )
    select format('Table `%s` has an RLS policy `%s` for `%s` that allows unrestricted access (%s). This effectively bypasses row-level security for %s.',
                  j.label, j.policy, j.command,
                  case when j.free_using and j.free_check then 'both USING and WITH CHECK are always true'
                       when j.free_using then 'USING clause is always true' else 'WITH CHECK clause is always true' end,
                  array_to_string(j.role_names, ', ')),
           jsonb_build_object('schema', j.schema, 'name', j.name, 'type', 'table', 'policy_name', j.policy, 'command', j.command, 'roles', j.role_names,
                              'qual', j.using_text, 'with_check', j.check_text, 'permissive_using', j.free_using, 'permissive_with_check', j.free_check),
           format('%s.%I', j.label, j.policy)
      from judged j
     where j.free_using or j.free_check
$$;
comment on function mcp._lint_rls_policy_always_true() is '@support Lint 0024: policies that let end users write whatever they want';
