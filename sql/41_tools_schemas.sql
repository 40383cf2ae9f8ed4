-- Owns: the tools list_schemas and list_extensions, and the limits that all catalog tools keep.
-- Runs: as the caller. The catalogs are readable by everybody; the tools show what the caller may use.
-- Must not: answer with more bytes than one call may have.

create function mcp._byte_budget() returns bigint
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    -- A quarter is left for what is around the list. PostgreSQL 15 shows a setting as 1000B and does not read that unit.
    select pg_size_bytes(regexp_replace(coalesce(nullif(current_setting('supabase_mcp.max_bytes', true), ''), '1MB'),
                                        '([0-9])B$', '\1 bytes')) * 3 / 4
$$;
comment on function mcp._byte_budget() is '@support Bytes that the list in a catalog tool''s answer may have, from supabase_mcp.max_bytes';

create function mcp._page_size(wanted integer) returns integer
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
    select least(greatest(coalesce(wanted, 500), 1), 10000)
$$;
comment on function mcp._page_size(integer) is '@support The number of entries of one page, within reason';

create function mcp._catalog_cut(value text, most bigint) returns text
language sql immutable strict
set search_path = pg_catalog, pg_temp
as $$
    -- Anybody may write a comment of a hundred megabytes: of such a text only the beginning is read, and the characters are not counted.
    select case when octet_length(value) <= most then value
                when octet_length(value) > 1000000 then left(value, greatest(most, 10)::integer) || format('... (cut, %s bytes)', octet_length(value))
                when length(value) <= most then value
                else left(value, greatest(most, 10)::integer) || format('... (cut, %s characters)', length(value)) end
$$;
comment on function mcp._catalog_cut(text, bigint) is '@support A text, cut after so many characters with a word that says so';

create function mcp.list_schemas(max_schemas integer default 500, after text default null) returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    with usable as (
        select n.oid, n.nspname, n.nspowner
          from pg_namespace n
         where n.nspname !~ '^pg_'
           and n.nspname not in ('information_schema', 'mcp')
           and has_schema_privilege(n.oid, 'USAGE')
           and (after is null or n.nspname > after::name)
         order by n.nspname
         limit mcp._page_size(max_schemas) + 1
    ), listed as (
        select u.nspname, row_number() over (order by u.nspname) as place,
               jsonb_strip_nulls(jsonb_build_object(
                   'name', u.nspname,
                   'owner', pg_get_userbyid(u.nspowner),
                   'can_create', has_schema_privilege(u.oid, 'CREATE'),
                   'comment', mcp._catalog_cut(obj_description(u.oid, 'pg_namespace'), 2000))) as item
          from usable u
    ), sized as (
        select l.*, l.place <= mcp._page_size(max_schemas)
                    and (l.place = 1 or sum(octet_length(l.item::text)) over (order by l.place) <= mcp._byte_budget()) as fits
          from listed l
    )
    select jsonb_build_object('schemas', coalesce(jsonb_agg(s.item order by s.place) filter (where s.fits), '[]'))
           || case when bool_and(s.fits) is not false then '{}'
              else jsonb_build_object('truncated', true, 'next', (array_agg(s.nspname order by s.place desc) filter (where s.fits))[1]) end
      from sized s
$$;
comment on function mcp.list_schemas(integer, text) is
'@mcp({"kind": "tool", "features": ["catalog"], "title": "List schemas",
      "args": {"after": "next of the last answer"},
      "output": {"schemas": "array", "truncated?": "boolean", "next?": "string"}})
Lists the schemas of this database that you may use, with owner, comment, and whether you may create objects in them.';

create function mcp.list_extensions() returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    -- An installed extension whose files are gone from the server is listed all the same.
    select jsonb_build_object('extensions', coalesce(jsonb_agg(
               jsonb_build_object('name', coalesce(a.name, e.extname),
                                  'schema', n.nspname,
                                  'default_version', a.default_version,
                                  'installed_version', e.extversion,
                                  'comment', a.comment)
               order by coalesce(a.name, e.extname)), '[]'))
      from pg_available_extensions() a
      full join pg_extension e on e.extname = a.name
      left join pg_namespace n on n.oid = e.extnamespace
$$;
comment on function mcp.list_extensions() is
'@mcp({"kind": "tool", "features": ["database"], "title": "List extensions", "output": {"extensions": "array"}})
Lists extensions, installed or only available.';
