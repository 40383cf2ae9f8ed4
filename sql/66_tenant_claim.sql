-- Owns: the tenant that is a claim: policies which read a setting that the tenant's token carries and its SQL cannot change.
-- Runs: in an administrator's session, with the administrator's own rights: the owner of the tables, or a superuser.
-- Must not: leave a table with the policy and without row-level security, or trust a role that is exempt from it.

create function mcp._guard_table(target regclass, role regrole, tenant_column text, setting text) returns text
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    relation record;
    type_name text;
    rule text;
    wall constant name := ('mcp_tenant_' || (select r.rolname from pg_roles r where r.oid = role))::name;
    own_rows constant name := ('mcp_tenant_rows_' || (select r.rolname from pg_roles r where r.oid = role))::name;
    existing text;
    made boolean := false;
begin
    select c.oid, c.relkind, c.relowner, c.relrowsecurity, format('%I.%I', n.nspname, c.relname) as name into relation
      from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = target;
    if relation.relkind not in ('r', 'p') then
        raise exception '% is not a table', relation.name using errcode = 'wrong_object_type';
    end if;
    select format_type(a.atttypid, null) into type_name
      from pg_attribute a where a.attrelid = target and a.attname = tenant_column and a.attnum > 0 and not a.attisdropped;
    if not found then
        raise exception 'table % has no column "%"', relation.name, tenant_column
            using errcode = 'undefined_column', hint = 'Add the column that says whose row it is, or name another with tenant_column.';
    end if;
    -- RLS does not bind an owner, and TRUNCATE and REFERENCES go past it.
    if pg_has_role(role::oid, relation.relowner, 'USAGE') then
        raise exception 'role % is, or is a member of, the owner of %, whom row-level security does not bind', role, relation.name
            using errcode = 'object_not_in_prerequisite_state', hint = 'Give the table to another owner, or take another role for the tenants.';
    elsif has_table_privilege(role::oid, target, 'TRUNCATE') or has_any_column_privilege(role::oid, target, 'REFERENCES') then
        raise exception 'role % may TRUNCATE % or refer to it, and neither asks the policies', role, relation.name
            using errcode = 'object_not_in_prerequisite_state', hint = format('Say: revoke truncate, references on %s from %s;', relation.name, role);
    end if;

    -- Empty is what a caller without the claim reads: no row, whatever the column's type.
    rule := format('%I = nullif(pg_catalog.current_setting(%L, true), '''')::%s', tenant_column, setting, type_name);
    if not relation.relrowsecurity then
        execute format('alter table %s enable row level security', relation.name);
        made := true;
    end if;
    -- The restrictive one is the wall: no other policy opens past it. The permissive one lets the tenant see its rows at all.
    for existing in select p from unnest(array[wall, own_rows]) p loop
        if exists (select from pg_policy p where p.polrelid = target and p.polname = existing) then
            -- Written by an earlier call for another tenant. One that was changed since, or says another claim, is not relied on.
            if not exists (select from pg_policy p
                            where p.polrelid = target and p.polname = existing and p.polroles = array[role::oid] and p.polcmd = '*'
                              and p.polpermissive = (existing = own_rows) and p.polwithcheck is null
                              and obj_description(p.oid, 'pg_policy') = mcp._policy_mark(rule, pg_get_expr(p.polqual, p.polrelid))) then
                raise exception 'policy "%" on % is not the one that this function makes for column "%" and setting "%"',
                    existing, relation.name, tenant_column, setting
                    using errcode = 'object_not_in_prerequisite_state', hint = format('Look at it; if it is not needed: drop policy %I on %s;', existing, relation.name);
            end if;
        else
            execute format('create policy %I on %s as %s for all to %s using (%s)', existing, relation.name,
                           case existing when own_rows then 'permissive' else 'restrictive' end, role, rule);
            execute format('comment on policy %I on %s is %L', existing, relation.name,
                           (select mcp._policy_mark(rule, pg_get_expr(p.polqual, p.polrelid))
                              from pg_policy p where p.polrelid = target and p.polname = existing));
            made := true;
        end if;
    end loop;
    return format('%s: row-level security %s role %s to rows where %s is the token''s %s', relation.name,
                  case when made then 'holds' else 'held already' end, role, tenant_column, setting);
end
$$;
comment on function mcp._guard_table(regclass, regrole, text, text) is
    'Sees to it that a role reads and writes only the rows of a table that carry the claim of its token';

create function mcp._policy_mark(rule text, expression text) returns text
language sql immutable strict
set search_path = pg_catalog, pg_temp
as $$
    -- What was asked for and what the catalog made of it: a policy that was altered since matches no more.
    select format('Rows of one tenant: %s [%s]', rule, encode(sha256(convert_to(rule || chr(10) || expression, 'UTF8')), 'hex'))
$$;
comment on function mcp._policy_mark(text, text) is 'The comment of a policy that mcp.create_tenant makes, by which it knows it again';
