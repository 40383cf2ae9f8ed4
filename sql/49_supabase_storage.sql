-- Owns: the tool list_storage_buckets, by the name of the Supabase MCP server: the buckets of Supabase Storage.
-- Runs: as the caller: policies on storage.buckets decide what it sees.
-- Must not: read what only bears the name: a view, or a table of somebody who is not trusted, would run its maker's code as the caller.

create function mcp.list_storage_buckets(max_buckets integer default 500, after text default null) returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    buckets constant oid := (select c.oid from pg_class c join pg_namespace n on n.oid = c.relnamespace join pg_roles r on r.oid = c.relowner
                              where n.nspname = 'storage' and c.relname = 'buckets' and c.relkind in ('r', 'p')
                                and (r.rolsuper or r.rolname in ('supabase_storage_admin', 'supabase_admin', 'postgres')));
    answer jsonb;
    complete boolean;
begin
    if buckets is null then
        raise exception 'there is no Supabase Storage in this database'
            using errcode = 'undefined_table', hint = 'The table storage.buckets is made by the Storage service of a Supabase project.';
    end if;
    if not (has_schema_privilege('storage', 'USAGE') and has_table_privilege(buckets, 'SELECT')) then
        raise exception 'role "%" may not read storage.buckets', current_user
            using errcode = 'insufficient_privilege',
                  hint = format('An administrator grants it: grant usage on schema storage to %1$I; grant select on storage.buckets to %1$I;'
                                ' row level security there wants a policy besides.', current_user);
    end if;
    -- As jsonb, since versions of Storage differ in columns.
    with page as (
        select to_jsonb(b) as bucket from storage.buckets b
         where after is null or b.name collate "C" > after
         order by b.name collate "C"
         limit mcp._page_size(max_buckets) + 1
    ), listed as (
        select p.bucket ->> 'name' as name, row_number() over (order by p.bucket ->> 'name' collate "C") as place,
               jsonb_build_object('id', p.bucket ->> 'id',
                                  'name', p.bucket ->> 'name',
                                  'owner', coalesce(p.bucket ->> 'owner_id', p.bucket ->> 'owner', ''),
                                  'created_at', coalesce(p.bucket ->> 'created_at', ''),
                                  'updated_at', coalesce(p.bucket ->> 'updated_at', ''),
                                  'public', coalesce((p.bucket ->> 'public')::boolean, false))
               || jsonb_strip_nulls(jsonb_build_object('type', p.bucket -> 'type',
                                                       'file_size_limit', p.bucket -> 'file_size_limit',
                                                       'allowed_mime_types', p.bucket -> 'allowed_mime_types')) as item
          from page p
    ), sized as (
        select l.*, l.place <= mcp._page_size(max_buckets)
                    and (l.place = 1 or sum(octet_length(l.item::text)) over (order by l.place) <= mcp._byte_budget()) as fits
          from listed l
    )
    select jsonb_build_object('buckets', coalesce(jsonb_agg(s.item order by s.place) filter (where s.fits), '[]')), bool_and(s.fits)
      into answer, complete
      from sized s;
    if not complete then
        answer := answer || jsonb_build_object('truncated', true, 'next', answer #>> '{buckets,-1,name}');
    end if;
    if row_security_active(buckets) then
        answer := answer || '{"not_visible": "Buckets that the policies on storage.buckets keep from your role."}';
    end if;
    return answer;
end
$$;
comment on function mcp.list_storage_buckets(integer, text) is
'@mcp({"kind": "tool", "features": ["storage"], "title": "List storage buckets",
      "args": {"after": "next of the last answer"},
      "output": {"buckets": "array", "truncated?": "boolean", "next?": "string", "not_visible?": "string"}})
Lists the buckets of Supabase Storage that you may see, with their limits, and whether they are public.';
