-- Owns: the tool search_objects: from a word or a pattern to the objects of that name.
-- Runs: as the caller. All names are compared before any privilege is asked for, and privileges only until a page is full, so that ten thousand
-- tables are no trouble.
-- Must not: show an object that the caller may not use.

create function mcp._catalog_kinds(kind text, everything boolean) returns text[]
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    kinds constant text[] := array['schema', 'table', 'view', 'materialized view', 'foreign table', 'function', 'procedure', 'aggregate', 'enum', 'domain',
                                   'composite type', 'range', 'type', 'sequence', 'extension', 'column', 'index', 'constraint', 'trigger', 'policy'];
    wanted constant text := case lower(kind) when 'indexes' then 'index' when 'policies' then 'policy' else regexp_replace(replace(lower(kind), '_', ' '), 's$', '') end;
begin
    if wanted is null then
        return case when everything then kinds[1:15] else kinds end;
    elsif wanted = 'type' then
        return kinds[9:13];
    elsif wanted = any (kinds) then
        return array[wanted];
    end if;
    raise exception 'there is no kind "%"', left(kind, 100)
        using errcode = 'invalid_parameter_value', hint = format('Kinds are: %s.', array_to_string(kinds, ', '));
end
$$;
comment on function mcp._catalog_kinds(text, boolean) is
    '@support The kinds of objects to search for; without one all, but not the parts of tables when every name would match';

create function mcp.search_objects(pattern text default null, kind text default null, schema text default null, detail text default null,
                                   max_objects integer default null, after text default null) returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    -- Defaults are here and not in the signature, where each would cost every list of tools its bytes.
    page_size constant integer := mcp._page_size(coalesce(max_objects, 100));
    wild constant boolean := strpos(pattern, '%') > 0;
    everything constant boolean := btrim(coalesce(pattern, ''), '%') = '';
    kinds constant text[] := mcp._catalog_kinds(kind, everything);
    spaces constant oid[] := mcp._catalog_one_schema(schema);
    -- Without a % it is a word: its _ and \ stand for themselves, and it may be in the middle of a name.
    word constant text := lower(pattern);
    wanted constant text := case when everything then '%' when wild then replace(pattern, '\', '\\')
                                 else '%' || replace(replace(pattern, '\', '\\'), '_', '\_') || '%' end;
    dotted constant boolean := strpos(pattern, '.') > 0;
    -- Whether a name alone cannot tell.
    loose constant boolean := everything or dotted;
    last_seen text[];
    steps text[] := array[kinds::text];
    step text[];
    bound bigint;
    sorted bigint;
    some_items text[];
    some_marks text[];
    items text[] := '{}';
    marks text[] := '{}';
begin
    if detail not in ('names', 'summary', 'full') then
        raise exception 'there is no detail "%"', left(detail, 100)
            using errcode = 'invalid_parameter_value', hint = 'It is names, summary or full.';
    end if;
    if after is not null then
        last_seen := regexp_match(after, '^([0-3])\.([0-9]{1,2})\.(.+)$');
        last_seen := last_seen[1:2] || mcp._catalog_after(last_seen[3], 3);
        if cardinality(last_seen) is distinct from 5 then
            perform mcp._catalog_after('', 3);
        end if;
    end if;

    -- Where all matches are alike the kinds are looked at in three steps, and the later ones only if the page is not full by then.
    if everything or wild then
        steps := array(select array_agg(u.kind order by u.place)::text
                         from (select k.kind, k.place, case when k.kind in ('schema', 'table', 'view', 'materialized view', 'foreign table') then 1
                                                            when k.kind in ('column', 'index', 'constraint', 'trigger', 'policy') then 3 else 2 end as step
                                 from unnest(kinds) with ordinality as k (kind, place)) u
                        where last_seen is null or u.place >= last_seen[2]::integer
                        group by u.step order by u.step);
    end if;
    -- A few times the page is sorted first, and all that matches only if the caller may see too few of those.
    bound := page_size * 3 + 50;
    while cardinality(steps) > 0 loop
        step := steps[1]::text[];
        with commented as materialized (
            select d.classoid, d.objoid, d.objsubid from pg_description d
             where not everything and not wild and d.objoid >= 16384 and left(d.description, 10000) ilike wanted
        ), tables as materialized (
            -- As mcp._table_kind, written out for speed; a partitioned table is a table here.
            select c.oid, c.relname, n.nspname, case c.relkind when 'v' then 'view' when 'm' then 'materialized view' when 'f' then 'foreign table'
                                                     else 'table' end as kind
              from pg_class c join pg_namespace n on n.oid = c.relnamespace
             where c.relnamespace = any (spaces) and c.relkind in ('r', 'p', 'v', 'm', 'f')
        ), objects as (
            -- Per object: its kind, what its privileges are asked of, its own identity, and up to three names, the last of which it is searched by.
            select 'schema' as kind, 'pg_namespace'::regclass::oid as class, n.oid as object, 0 as part, n.oid as id,
                   n.nspname::text collate "C" as a, '' collate "C" as b, '' collate "C" as c, n.nspname::text collate "C" as name
              from pg_namespace n
             where 'schema' = any (step) and n.oid = any (spaces)
            union all
            select t.kind, 'pg_class'::regclass, t.oid, 0, t.oid, t.nspname, t.relname, '', t.relname
              from tables t
             where step && array['table', 'view', 'materialized view', 'foreign table'] and t.kind = any (step)
               and (loose or t.relname ilike wanted or t.oid in (select d.objoid from commented d))
            union all
            select 'column', 'pg_class'::regclass, t.oid, a.attnum, t.oid, t.nspname, t.relname, a.attname, a.attname
              from (select x.attrelid, x.attnum, x.attname from pg_attribute x
                     where 'column' = any (step) and x.attnum > 0 and not x.attisdropped
                       and (loose or x.attname ilike wanted or x.attrelid in (select d.objoid from commented d)) offset 0) a
              join tables t on t.oid = a.attrelid
            union all
            select k.kind, 'pg_proc'::regclass, p.oid, 0, p.oid, n.nspname, p.proname, pg_get_function_identity_arguments(p.oid), p.proname
              from pg_proc p
              join pg_namespace n on n.oid = p.pronamespace
             cross join lateral (select case p.prokind when 'p' then 'procedure' when 'a' then 'aggregate' else 'function' end as kind) k
             where step && array['function', 'procedure', 'aggregate'] and k.kind = any (step) and p.pronamespace = any (spaces)
               and (loose or p.proname ilike wanted or p.oid in (select d.objoid from commented d))
               -- Not what PostgreSQL made along with a range type.
               and not exists (select from pg_depend i where i.classid = 'pg_proc'::regclass and i.objid = p.oid and i.deptype = 'i')
            union all
            select k.kind, 'pg_type'::regclass, t.oid, 0, t.oid, n.nspname, t.typname, '', t.typname
              from pg_type t
              join pg_namespace n on n.oid = t.typnamespace
              left join pg_class r on r.oid = t.typrelid
             cross join lateral (select case t.typtype when 'e' then 'enum' when 'd' then 'domain' when 'c' then 'composite type'
                                             when 'r' then 'range' when 'b' then 'type' end as kind) k
             where step && array['enum', 'domain', 'composite type', 'range', 'type'] and k.kind = any (step) and t.typnamespace = any (spaces)
               and (loose or t.typname ilike wanted or t.oid in (select d.objoid from commented d))
               -- Neither arrays, which go with their elements, nor the row types of tables.
               and (t.typtype <> 'b' or t.typelem = 0 or t.typsubscript <> 'array_subscript_handler'::regproc) and (t.typtype <> 'c' or r.relkind = 'c')
            union all
            select 'sequence', 'pg_class'::regclass, c.oid, 0, c.oid, n.nspname, c.relname, '', c.relname
              from pg_class c join pg_namespace n on n.oid = c.relnamespace
             where 'sequence' = any (step) and c.relkind = 'S' and c.relnamespace = any (spaces)
               and (loose or c.relname ilike wanted or c.oid in (select d.objoid from commented d))
            union all
            select 'extension', 'pg_extension'::regclass, e.oid, 0, e.oid, n.nspname, e.extname, '', e.extname
              from pg_extension e join pg_namespace n on n.oid = e.extnamespace
             where 'extension' = any (step) and (search_objects.schema is null or e.extnamespace = any (spaces))
            union all
            select 'index', 'pg_class'::regclass, t.oid, 0, i.indexrelid, t.nspname, x.relname, '', x.relname
              from tables t join pg_index i on i.indrelid = t.oid join pg_class x on x.oid = i.indexrelid
             where 'index' = any (step)
               and (loose or x.relname ilike wanted or x.oid in (select d.objoid from commented d))
            union all
            select 'constraint', 'pg_constraint'::regclass, t.oid, 0, k.oid, t.nspname, t.relname, k.conname, k.conname
              from tables t join pg_constraint k on k.conrelid = t.oid
             where 'constraint' = any (step) and k.contype <> 'n'
               and (loose or k.conname ilike wanted or k.oid in (select d.objoid from commented d))
            union all
            select 'trigger', 'pg_trigger'::regclass, t.oid, 0, g.oid, t.nspname, t.relname, g.tgname, g.tgname
              from tables t join pg_trigger g on g.tgrelid = t.oid
             where 'trigger' = any (step) and not g.tgisinternal
               and (loose or g.tgname ilike wanted or g.oid in (select d.objoid from commented d))
            union all
            select 'policy', 'pg_policy'::regclass, t.oid, 0, p.oid, t.nspname, t.relname, p.polname, p.polname
              from tables t join pg_policy p on p.polrelid = t.oid
             where 'policy' = any (step)
               and (loose or p.polname ilike wanted or p.oid in (select d.objoid from commented d))
        ), matched as (
            select o.*, case
                            when everything or wild then 0
                            when lower(o.name) = word or dotted and lower(o.path) = word then 0
                            when starts_with(lower(case when dotted then o.path else o.name end), word) then 1
                            when case when dotted then o.path else o.name end ilike wanted then 2
                            else 3
                        end as rank,
                   array_position(kinds, o.kind) as sort
              from (select b.*, case when dotted then concat_ws('.', b.a, nullif(b.b, ''), nullif(b.c, '')) end as path from objects b) o
              left join commented d on d.classoid = o.class and d.objoid = o.id and d.objsubid = o.part
             where everything
                or case when dotted then o.path else o.name end ilike wanted
                or d.objoid is not null
        ), ranked as materialized (
            select * from matched m
             where last_seen is null
                or (m.rank, m.sort, m.a, m.b, m.c) > (last_seen[1]::integer, last_seen[2]::integer, last_seen[3] collate "C",
                                                      last_seen[4] collate "C", last_seen[5] collate "C")
             -- OFFSET keeps the questions for privileges behind the sort.
             order by m.rank, m.sort, m.a, m.b, m.c
             limit bound offset 0
        ), page as (
            -- Written out for speed: for a role that may see little all that matches is asked for.
            select * from ranked r
             where case
                       when r.kind in ('table', 'view', 'materialized view', 'foreign table', 'index', 'constraint', 'trigger', 'policy')
                           then has_table_privilege(r.object, 'SELECT')
                                or has_table_privilege(r.object, 'INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')
                                or exists (select from pg_attribute a where a.attrelid = r.object and a.attacl is not null)
                                   and has_any_column_privilege(r.object, 'SELECT, INSERT, UPDATE, REFERENCES')
                       when r.kind = 'column' then has_column_privilege(r.object, r.part::smallint, 'SELECT, INSERT, UPDATE, REFERENCES')
                       when r.kind in ('function', 'procedure', 'aggregate') then has_function_privilege(r.object, 'EXECUTE')
                       when r.kind in ('enum', 'domain', 'composite type', 'range', 'type') then has_type_privilege(r.object, 'USAGE')
                       when r.kind = 'sequence' then has_sequence_privilege(r.object, 'USAGE, SELECT, UPDATE')
                       else true
                   end
             limit page_size + 1 - cardinality(items)
        )
        select array_agg((jsonb_build_object(
                              'kind', p.kind,
                              'name', case when p.kind in ('schema', 'extension') then quote_ident(p.name)
                                           when p.kind in ('function', 'procedure', 'aggregate') then format('%I.%I(%s)', p.a, p.b, mcp._catalog_cut(p.c, 300))
                                           when p.c = '' then format('%I.%I', p.a, p.b)
                                           else format('%I.%I.%I', p.a, p.b, p.c) end)
                          || case when detail in ('summary', 'full') then mcp._catalog_detail(p.kind, p.id, p.part, detail = 'full') else '{}' end)::text
                         order by p.rank, p.sort, p.a, p.b, p.c),
               -- A quoted name must not be empty where it is read again: "!" comes before all that a name can begin with.
               array_agg(format('%s.%s.%I.%I.%I', p.rank, p.sort, p.a, coalesce(nullif(p.b, ''), '!'), coalesce(nullif(p.c, ''), '!')) order by p.rank, p.sort, p.a, p.b, p.c),
               case when bound is not null then (select count(*) from ranked) end
          into some_items, some_marks, sorted
          from page p;
        if sorted = bound and cardinality(items) + coalesce(cardinality(some_items), 0) <= page_size then
            bound := null;
            continue;
        end if;
        items := items || some_items;
        marks := marks || some_marks;
        exit when cardinality(items) > page_size;
        bound := page_size * 3 + 50;
        steps := steps[2:];
    end loop;
    return mcp._catalog_page('objects', items, marks, page_size);
end
$$;
comment on function mcp.search_objects(text, text, text, text, integer, text) is
'@mcp({"kind": "tool", "features": ["database", "catalog"], "title": "Search objects",
      "args": {"kind": "Such as table or column", "detail": {"schema": {"enum": ["names", "summary", "full"]}}, "max_objects": "100 if left out"},
      "output": {"objects": "array", "next?": {}}})
Finds objects by part of a name or comment, or a LIKE pattern.';
