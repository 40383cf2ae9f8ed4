-- Owns: what a transaction has written in the system catalogs, as objects with names.
-- Runs: as the caller. Rows written by a transaction carry its ids, so that nothing has to be remembered beforehand, however many
-- objects the database has: new rows in xmin, while it runs; those that it replaced or removed in xmax, also after it was rolled back.
-- Must not: show what a catalog holds of secrets: images of rows are compared here and never answered.

create function mcp._own_xids(top xid8) returns xid[]
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    xids xid[] := '{}';
    candidate bigint := top::text::bigint;
begin
    -- Postgres tells nobody the ids of the subtransactions that have ended well. They are among those given out since, and still in
    -- progress; those of other sessions are known by their locks, and for the rest by not being rolled back along with this one.
    begin
        for n in 1 .. 1000000 loop
            candidate := candidate + 1;
            if pg_xact_status(candidate::text::xid8) = 'in progress' then
                xids := xids || (candidate % 4294967296)::text::xid;
            end if;
        end loop;
    exception when invalid_parameter_value then
        -- It is in the future.
        null;
    end;
    return array(select x from unnest(xids) x
                 except all
                 select l.transactionid from pg_locks l where l.locktype = 'transactionid' and l.pid <> pg_backend_pid() and l.granted);
end
$$;
comment on function mcp._own_xids(xid8) is '@support Ids of the subtransactions of the present transaction, whose own id is given';

create function mcp._identity(classid oid, objid oid, objsubid integer, out kind text, out name text)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    select i.type, i.identity into kind, name from pg_identify_object(classid, objid, objsubid) i;
    kind := case kind when 'table column' then 'column' when 'view column' then 'column' when 'foreign table column' then 'column'
                      when 'composite type column' then 'column' when 'table constraint' then 'constraint' when 'domain constraint' then 'constraint'
                      else kind end;
exception when others then
    -- A class of objects that has no names.
    null;
end
$$;
comment on function mcp._identity(oid, oid, integer) is '@support Kind and name, ready for SQL, of any object of the catalogs; null for what has none';

create function mcp._written(xids xid[], undone boolean)
returns table (key text, kind text, name text, parents text[], class text, image jsonb)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    -- Parts of other objects, what has no name, and what is only bookkeeping.
    silent constant text[] := '{pg_amop,pg_amproc,pg_largeobject_metadata,pg_enum,pg_attrdef,pg_rewrite,pg_init_privs}';
    item record;
begin
    if cardinality(xids) = 0 then
        return;
    end if;
    for item in
        select c.oid, c.relname::text as catalog, k.key, k.sub
          from pg_class c
          join lateral (select 'c.oid' as key, '0' as sub
                         where exists (select from pg_attribute a where a.attrelid = c.oid and a.attname = 'oid')
                           and c.relname <> all (silent)
                        union all select 'c.attrelid', 'c.attnum' where c.relname = 'pg_attribute'
                        union all select 'c.seqrelid', '0' where c.relname = 'pg_sequence') k on true
         where c.relnamespace = 'pg_catalog'::regnamespace and c.relkind = 'r' and has_table_privilege(c.oid, 'SELECT')
    loop
        return query execute format($sql$
            select %1$L || ':' || %2$s || ':' || %3$s, i.kind, i.name,
                   -- Members of an extension come and go with it.
                   array(select 'pg_extension:' || d.refobjid || ':0' from pg_depend d
                          where d.classid = %4$s and d.objid = %2$s and d.objsubid = 0 and d.deptype = 'e') || mcp._parents(%1$L, to_jsonb(c), %5$L),
                   %1$L, to_jsonb(c) || case when %1$L = 'pg_attribute'
                                             then jsonb_build_object('~type', format_type((to_jsonb(c) ->> 'atttypid')::oid, (to_jsonb(c) ->> 'atttypmod')::integer),
                                                                     -- Some releases keep a counter of their own among the options.
                                                                     'attoptions', array(select o from jsonb_array_elements_text(case jsonb_typeof(to_jsonb(c) -> 'attoptions') when 'array' then to_jsonb(c) -> 'attoptions' else '[]' end) o where o not like 'pg_attver=%%'))
                                             else '{}' end
              from pg_catalog.%1$I c
             cross join lateral mcp._identity(case %1$L when 'pg_attribute' then 1259 when 'pg_sequence' then 1259 else %4$s end, %2$s, %3$s) i
             where c.%6$s = any ($1) and not mcp._is_part(%1$L, to_jsonb(c))$sql$,
            item.catalog, item.key, item.sub, item.oid::text || '::oid', undone, case when undone then 'xmax' else 'xmin' end)
            using xids;
    end loop;

    -- Those that identify no object by themselves.
    return query execute format($sql$
        select 'pg_attrdef:' || c.adrelid || ':' || c.adnum, 'default', i.name,
               array['pg_class:' || c.adrelid || ':0', 'pg_attribute:' || c.adrelid || ':' || c.adnum], 'pg_attrdef', to_jsonb(c)
          from pg_catalog.pg_attrdef c cross join lateral mcp._identity(1259, c.adrelid, c.adnum) i where c.%1$s = any ($1)
        union all
        select 'pg_rewrite:' || c.oid || ':0', case when c.rulename = '_RETURN' then v.kind else i.kind end,
               case when c.rulename = '_RETURN' then v.name else i.name end,
               array['pg_class:' || c.ev_class || ':0'], 'pg_rewrite', to_jsonb(c)
          from pg_catalog.pg_rewrite c cross join lateral mcp._identity(1259, c.ev_class, 0) v
         cross join lateral mcp._identity(2618, c.oid, 0) i where c.%1$s = any ($1)
        union all
        select 'pg_enum:' || c.oid || ':0', 'enum value', format('%%s: %%L', format_type(c.enumtypid, null), c.enumlabel),
               array['pg_type:' || c.enumtypid || ':0'], 'pg_enum', to_jsonb(c)
          from pg_catalog.pg_enum c where c.%1$s = any ($1)
        union all
        select 'comment:' || c.classoid || ':' || c.objoid || ':' || c.objsubid, 'comment', i.kind || ' ' || i.name,
               array[case when c.objsubid > 0 then 'pg_attribute' else (select k.relname from pg_class k where k.oid = c.classoid) end
                     || ':' || c.objoid || ':' || c.objsubid, 'pg_class:' || c.objoid || ':0']
               || coalesce(array(select 'pg_extension:' || d.refobjid || ':0' from pg_depend d
                                  where d.classid = c.classoid and d.objid = c.objoid and d.objsubid = 0 and d.deptype = 'e'), '{}'),
               'pg_description', to_jsonb(c)
          from pg_catalog.pg_description c cross join lateral mcp._identity(c.classoid, c.objoid, c.objsubid) i where c.%1$s = any ($1)$sql$,
        case when undone then 'xmax' else 'xmin' end) using xids;
end
$$;
comment on function mcp._written(xid[], boolean) is
    '@support Objects whose catalog rows these transactions wrote (while they run), or replaced and removed (after they were rolled back)';

create function mcp._is_part(class text, image jsonb) returns boolean
language sql stable strict
set search_path = pg_catalog, pg_temp
as $$
    select case class
               when 'pg_class' then image ->> 'relkind' in ('t', 'c') or (image ->> 'relnamespace')::oid = 'pg_toast'::regnamespace
               when 'pg_attribute' then (image ->> 'attnum')::integer <= 0
                                        or exists (select from pg_class r where r.oid = (image ->> 'attrelid')::oid and r.relkind in ('i', 'I', 't', 'S'))
               when 'pg_type' then image ->> 'typtype' = 'm'
                                   or image ->> 'typrelid' <> '0'
                                      and not exists (select from pg_class r where r.oid = (image ->> 'typrelid')::oid and r.relkind = 'c')
                                   or exists (select from pg_type e where e.oid = (image ->> 'typelem')::oid and e.typarray = (image ->> 'oid')::oid)
               when 'pg_trigger' then (image ->> 'tgisinternal')::boolean
               -- A constraint trigger is a trigger; NOT NULL is said of the column, in all versions.
               when 'pg_constraint' then image ->> 'contype' in ('t', 'n')
               else false
           end
$$;
comment on function mcp._is_part(text, jsonb) is '@support Whether a catalog''s row is a part of another object, which nobody made by name';

create function mcp._parents(class text, image jsonb, undone boolean) returns text[]
language sql stable strict
set search_path = pg_catalog, pg_temp
as $$
    -- A new table brings its columns and constraints; a dropped one takes everything on it.
    select case class
               when 'pg_attribute' then array['pg_class:' || (image ->> 'attrelid') || ':0']
                                        || array(select 'pg_type:' || r.reltype || ':0' from pg_class r where r.oid = (image ->> 'attrelid')::oid)
               when 'pg_sequence' then array['pg_class:' || (image ->> 'seqrelid') || ':0']
               when 'pg_constraint' then array['pg_class:' || (image ->> 'conrelid') || ':0', 'pg_type:' || (image ->> 'contypid') || ':0',
                                               'pg_constraint:' || (image ->> 'conparentid') || ':0']
               when 'pg_trigger' then case when undone then array['pg_class:' || (image ->> 'tgrelid') || ':0'] else '{}' end
               when 'pg_policy' then case when undone then array['pg_class:' || (image ->> 'polrelid') || ':0'] else '{}' end
               when 'pg_class' then
                   case when image ->> 'relkind' in ('i', 'I') then
                       array(select 'pg_constraint:' || k.oid || ':0' from pg_constraint k
                              where k.conindid = (image ->> 'oid')::oid and k.contype in ('p', 'u', 'x'))
                       || array(select 'pg_class:' || x.indrelid || ':0' from pg_index x where undone and x.indexrelid = (image ->> 'oid')::oid)
                        when image ->> 'relkind' = 'S' then
                       array(select 'pg_class:' || d.refobjid || ':0' from pg_depend d
                              where d.classid = 'pg_class'::regclass and d.objid = (image ->> 'oid')::oid
                                and d.refclassid = 'pg_class'::regclass and d.deptype in ('a', 'i'))
                        else '{}' end
               else '{}'
           end
$$;
comment on function mcp._parents(text, jsonb, boolean) is '@support Keys of the objects with which this one comes or goes';

create function mcp._acl(class text, image jsonb, acl jsonb) returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    -- Null stands for what every object of its kind begins with.
    select case
               when jsonb_typeof(acl) = 'array' then acl
               when class = 'pg_class' then to_jsonb(acldefault(case image ->> 'relkind' when 'S' then 's' else 'r' end::"char", (image ->> 'relowner')::oid))
               when class = 'pg_proc' then to_jsonb(acldefault('f', (image ->> 'proowner')::oid))
               when class = 'pg_namespace' then to_jsonb(acldefault('n', (image ->> 'nspowner')::oid))
               when class = 'pg_type' then to_jsonb(acldefault('T', (image ->> 'typowner')::oid))
               else '[]'
           end
$$;
comment on function mcp._acl(text, jsonb, jsonb) is '@support The privileges of a catalog''s row, with those that go without saying';

create function mcp._differences(class text, before jsonb, after jsonb) returns text[]
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    with differing as (
        select b.key, b.value as old, after -> b.key as new, regexp_replace(b.key, '^(rel|att|pro|typ|nsp|con|pol|tg|ext|adb|adn|adrel|seq|spc|srv|fdw|pub|evt|stx)', '') as word
          from jsonb_each(before) b
         where b.value is distinct from after -> b.key
           -- ALTER SEQUENCE always makes a new file.
           and not (b.key = 'relfilenode' and before ->> 'relkind' = 'S')
           -- Statistics, and what follows from something else that is told.
           and b.key !~ '^(relpages|reltuples|relall\w+|relhas\w+|relchecks|relnatts|relfrozenxid|relminmxid|reltoastrelid|relispopulated|relreuse|relrewrite|reltype|atttypid|atttypmod|attlen|attbyval|attalign|attndims|attcollation|attinhcount|attislocal|atthas\w+|attmissingval|attcacheoff|attstorage|conindid|coninhcount|conislocal|ev_qual|relname|relnamespace|attname|proname|pronamespace|typname|typnamespace|nspname|conname|tgname|polname|oid)$'
    ), said as (
        select case
                   when d.key = '~type' then format('type: %s -> %s', d.old #>> '{}', d.new #>> '{}')
                   when d.key = 'relfilenode' then 'rewritten'
                   when d.key like '%acl' then concat_ws(' ', 'privileges:',
                        (select string_agg('+' || e, ' ' order by e) from jsonb_array_elements_text(mcp._acl(class, after, d.new)) e
                          where not mcp._acl(class, before, d.old) @> to_jsonb(e)),
                        (select string_agg('-' || e, ' ' order by e) from jsonb_array_elements_text(mcp._acl(class, before, d.old)) e
                          where not mcp._acl(class, after, d.new) @> to_jsonb(e)))
                   when d.key like '%owner' then format('owner: %s -> %s', (d.old #>> '{}')::oid::regrole, (d.new #>> '{}')::oid::regrole)
                   when d.key = 'relrowsecurity' then 'row level security ' || case d.new when 'true' then 'on' else 'off' end
                   when d.key = 'relforcerowsecurity' then 'row level security ' || case d.new when 'true' then 'forced' else 'not forced' end
                   when d.key = 'attnotnull' then case d.new when 'true' then 'not null' else 'nullable' end
                   when d.key = 'convalidated' then case d.new when 'true' then 'validated' else 'not validated' end
                   when d.key = 'prosecdef' then case d.new when 'true' then 'security definer' else 'security invoker' end
                   when d.key = 'extversion' then format('version: %s -> %s', d.old #>> '{}', d.new #>> '{}')
                   when d.key = 'tgenabled' then case d.new when '"D"' then 'disabled' else 'enabled' end
                   when d.key in ('prosrc', 'prosqlbody', 'probin') then 'body'
                   when d.key in ('polqual') then 'using'
                   when d.key in ('polwithcheck') then 'check'
                   when d.key = 'polroles' then 'roles'
                   when class in ('pg_rewrite', 'pg_constraint', 'pg_trigger', 'pg_attrdef') then 'definition'
                   when class = 'pg_description' then 'text'
                   else d.word
               end as words
          from differing d
    )
    select array(select distinct s.words from said s order by 1)
$$;
comment on function mcp._differences(text, jsonb, jsonb) is '@support What is different in two versions of a catalog''s row, in words; without names and schemas, and empty where nothing is that counts';
