-- Owns: the lints about extensions, types, and what Supabase keeps for a project: users and buckets.
-- Runs: as the caller. The names of public buckets are the only thing that any lint reads from a table.
-- Must not: read that table unless it is Supabase's own: whoever made another one could have written what runs when it is read.

create function mcp._lint_extension_in_public() returns table (detail text, metadata jsonb, key text)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select format('Extension `%I` is installed in the public schema. Move it to another schema.', e.extname),
           jsonb_build_object('schema', n.nspname, 'name', e.extname, 'type', 'extension'),
           e.extname::text
      from pg_extension e
      join pg_namespace n on n.oid = e.extnamespace
     where n.nspname = 'public'
       and e.extname <> 'plpgsql'
$$;
comment on function mcp._lint_extension_in_public() is '@support Lint 0014: extensions in the schema public';

create function mcp._lint_extension_versions_outdated() returns table (detail text, metadata jsonb, key text)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    -- A version that cannot be installed any more is what pg_upgrade left, and no choice.
    select format('Extension `%I` is using version `%s` but version `%s` is available. Using outdated extension versions may expose the database to security vulnerabilities.',
                  e.extname, e.extversion, a.default_version),
           jsonb_build_object('extension_name', e.extname, 'installed_version', e.extversion, 'default_version', a.default_version),
           e.extname::text
      from pg_extension e
      join pg_available_extensions() a on a.name = e.extname
     where a.default_version <> e.extversion
       and exists (select from pg_available_extension_versions() v where v.name = e.extname and v.version = e.extversion)
$$;
comment on function mcp._lint_extension_versions_outdated() is '@support Lint 0022: extensions of which the server has a newer version';

create function mcp._lint_unsupported_reg_types() returns table (detail text, metadata jsonb, key text)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    -- What has no rows of its own (views, types) is no hindrance.
    select format('Table `%I.%I` has a column `%I` with unsupported reg* type `%s`.', n.nspname, c.relname, a.attname, t.typname),
           jsonb_build_object('schema', n.nspname, 'name', c.relname, 'column', a.attname, 'type', 'table'),
           format('%I.%I.%I', n.nspname, c.relname, a.attname)
      from pg_attribute a
      join pg_type t on t.oid = a.atttypid
      join pg_class c on c.oid = a.attrelid
      join pg_namespace n on n.oid = c.relnamespace
     where a.atttypid = any ('{regcollation,regconfig,regdictionary,regnamespace,regoper,regoperator,regproc,regprocedure}'::regtype[]::oid[])
       and a.attnum > 0
       and not a.attisdropped
       and c.relkind in ('r', 'p', 'm')
       and n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'pgsodium')
$$;
comment on function mcp._lint_unsupported_reg_types() is '@support Lint 0018: columns that keep pg_upgrade from upgrading';

create function mcp._lint_fkey_to_auth_unique() returns table (detail text, metadata jsonb, key text)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select format('Table `%I.%I` has a foreign key `%I` referencing an auth unique constraint', n.nspname, c.relname, k.conname),
           jsonb_build_object('schema', n.nspname, 'name', c.relname, 'foreign_key', k.conname),
           format('%I.%I.%I', n.nspname, c.relname, k.conname)
      from pg_constraint k
      join pg_class c on c.oid = k.conrelid
      join pg_namespace n on n.oid = c.relnamespace
      join pg_class users on users.oid = k.confrelid
      join pg_namespace auth on auth.oid = users.relnamespace
      join pg_index i on i.indexrelid = k.conindid
     where k.contype = 'f'
       and k.conparentid = 0
       and auth.nspname = 'auth'
       and n.nspname <> 'auth'
       and i.indisunique
       and not i.indisprimary
$$;
comment on function mcp._lint_fkey_to_auth_unique() is '@support Lint 0021: foreign keys to what Supabase Auth may change, unlike its primary keys';

create function mcp._lint_buckets(out readable boolean, out gap text)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    with buckets as (
        select c.oid, c.relkind = 'r'
                      and (o.rolsuper or o.rolname in ('supabase_storage_admin', 'supabase_admin'))
                      and (select count(*) from pg_attribute a
                            where a.attrelid = c.oid and not a.attisdropped
                              and (a.attname, a.atttypid) in (('id', 'text'::regtype), ('name', 'text'::regtype), ('public', 'boolean'::regtype))) = 3 as genuine,
               has_schema_privilege(n.oid, 'USAGE') and has_table_privilege(c.oid, 'SELECT') as allowed
          from pg_class c
          join pg_namespace n on n.oid = c.relnamespace and n.nspname = 'storage'
          join pg_roles o on o.oid = c.relowner
         where c.relname = 'buckets' and c.relkind in ('r', 'p', 'v', 'm', 'f')
    )
    select b.genuine and b.allowed,
           case when not b.genuine then 'storage.buckets is not the table of Supabase Storage'
                when not b.allowed then 'needs SELECT on storage.buckets; its owner grants it: grant select on storage.buckets to ...'
                when row_security_active(b.oid)
                then 'only the buckets that row level security lets you see; a policy for select on storage.buckets shows them to your role' end
      from buckets b
$$;
comment on function mcp._lint_buckets() is '@support Whether Supabase''s storage buckets can be read, null if there are none, and what is not seen of them';

create function mcp._lint_public_bucket_allows_listing() returns table (detail text, metadata jsonb, key text)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    buckets jsonb;
begin
    if (select b.readable from mcp._lint_buckets() b) is not true then
        return;
    end if;
    select coalesce(jsonb_agg(jsonb_build_object('id', b.id, 'name', b.name)), '[]') into buckets from storage.buckets b where b.public;
    -- Either a policy lets everybody see all objects, or those of one bucket that it names.
    return query
        with broad as (
            select p.policy::text, lower(regexp_replace(p.using_text, '\s', '', 'g')) in ('true', '(true)', '1=1', '(1=1)') or p.using_text is null as every_bucket,
                   replace((regexp_match(p.using_text, '\A\(*bucket_id = ''((?:[^'']|'''')*)''(?:::text)?\)*\Z'))[1], '''''', '''') as bucket
              from mcp._lint_policies() p
              join pg_class c on c.oid = p.relation and c.relname = 'objects'
              join pg_namespace n on n.oid = c.relnamespace and n.nspname = 'storage'
             where p.command in ('SELECT', 'ALL')
               and p.is_permissive
               and p.roles && (array[0::oid] || (select mcp._lint_roles()))
        ), listed as (
            select b.item ->> 'id' as id, b.item ->> 'name' as name, array_agg(p.policy order by p.policy) as policies
              from jsonb_array_elements(buckets) as b (item)
              join broad p on p.every_bucket or p.bucket = b.item ->> 'id'
             group by 1, 2
        )
        select format('Public bucket `%s` has %s broad SELECT %s on `storage.objects` (%s), allowing clients to list all files. Public buckets don''t need this for object URL access and it may expose more data than intended.',
                      l.name, cardinality(l.policies), case cardinality(l.policies) when 1 then 'policy' else 'policies' end,
                      array_to_string(l.policies, ', ')),
               jsonb_build_object('schema', 'storage', 'name', l.name, 'type', 'bucket', 'bucket_id', l.id, 'bucket_name', l.name,
                                  'policy_names', l.policies, 'policy_count', cardinality(l.policies)),
               l.id
          from listed l;
end
$$;
comment on function mcp._lint_public_bucket_allows_listing() is '@support Lint 0025: public buckets of which everybody may list the files';
