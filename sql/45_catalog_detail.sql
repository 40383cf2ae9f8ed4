-- Owns: what search_objects says of an object beyond its name.
-- Runs: as the caller, for the objects of one page, on which the caller has a privilege.
-- Must not: open a table, or say more than a page can hold: long texts are cut.

create function mcp._catalog_type_detail(type oid) returns jsonb
language sql stable strict
set search_path = pg_catalog, pg_temp
as $$
    select jsonb_build_object(
               'labels', case when t.typtype = 'e' then
                   (select jsonb_agg(l.enumlabel order by l.enumsortorder) from (select * from pg_enum e where e.enumtypid = t.oid order by e.enumsortorder limit m.most) l) end,
               'more_labels', case when t.typtype = 'e' then (select nullif(greatest(count(*) - m.most, 0), 0) from pg_enum e where e.enumtypid = t.oid) end,
               'base_type', case when t.typtype = 'd' then format_type(t.typbasetype, t.typtypmod) end,
               'not_null', case when t.typtype = 'd' and t.typnotnull then true end,
               'default', case when t.typtype = 'd' then mcp._catalog_cut(t.typdefault, 200) end,
               'checks', case when t.typtype = 'd' then
                   (select jsonb_agg(mcp._catalog_cut(pg_get_constraintdef(k.oid, true), mcp._catalog_longest(500)) order by k.conname)
                      from pg_constraint k where k.contypid = t.oid and k.contype = 'c') end,
               'attributes', case when t.typtype = 'c' then
                   (select jsonb_agg(jsonb_build_object('name', a.attname, 'type', format_type(a.atttypid, a.atttypmod)) order by a.attnum)
                      from (select * from pg_attribute x where x.attrelid = t.typrelid and x.attnum > 0 and not x.attisdropped
                             order by x.attnum limit m.most) a) end,
               'more_attributes', case when t.typtype = 'c' then
                   (select nullif(greatest(count(*) - m.most, 0), 0) from pg_attribute x where x.attrelid = t.typrelid and x.attnum > 0 and not x.attisdropped) end,
               'range_of', case when t.typtype = 'r' then (select format_type(r.rngsubtype, null) from pg_range r where r.rngtypid = t.oid) end,
               'comment', mcp._catalog_cut(obj_description(t.oid, 'pg_type'), mcp._catalog_longest(500)))
      from pg_type t
     cross join (select least(50, greatest(mcp._byte_budget() / 200, 2)) as most) m
     where t.oid = type
$$;
comment on function mcp._catalog_type_detail(oid) is '@support Labels of an enum, base and checks of a domain, attributes of a composite type, subtype of a range';

create function mcp._catalog_table_detail(relation oid, complete boolean) returns jsonb
language sql stable strict
set search_path = pg_catalog, pg_temp
as $$
    select jsonb_build_object(
               'rows', mcp._row_estimate(c.oid),
               'columns', case when complete then
                   (select jsonb_agg(mcp._catalog_cut(format('%I %s%s%s', a.attname, format_type(a.atttypid, a.atttypmod),
                                                             case when a.attnotnull then ' not null' else '' end,
                                                             case when a.attidentity <> '' then ' identity' when a.attgenerated <> '' then ' generated' else '' end), 200)
                                     order by a.attnum)
                      from (select * from pg_attribute x
                             where x.attrelid = c.oid and x.attnum > 0 and not x.attisdropped
                               and has_column_privilege(c.oid, x.attnum, 'SELECT, INSERT, UPDATE, REFERENCES')
                             order by x.attnum limit least(100, mcp._byte_budget() / 250)) a)
                   else to_jsonb(c.relnatts) end,
               'primary_key', case when complete then nullif(mcp._primary_key(c.oid), '[]') end,
               'rls_enabled', case when c.relrowsecurity then true end,
               'definition', case when complete and c.relkind in ('v', 'm') then mcp._catalog_cut(pg_get_viewdef(c.oid), mcp._catalog_longest(4000)) end,
               'comment', mcp._catalog_cut(obj_description(c.oid, 'pg_class'), mcp._catalog_longest(500)))
      from pg_class c
     where c.oid = relation
$$;
comment on function mcp._catalog_table_detail(oid, boolean) is '@support Rows, columns, key and comment of a table; complete also the columns'' types and a view''s definition';

create function mcp._catalog_detail(kind text, object oid, part integer, complete boolean) returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    longest constant bigint := mcp._catalog_longest(4000);
    remark constant bigint := mcp._catalog_longest(500);
    answer jsonb;
begin
    case
        when kind in ('table', 'view', 'materialized view', 'foreign table') then
            answer := mcp._catalog_table_detail(object, complete);
        when kind = 'column' then
            select jsonb_build_object('type', format_type(a.atttypid, a.atttypmod), 'not_null', case when a.attnotnull then true end,
                                      'default', case when complete then mcp._catalog_cut(pg_get_expr(d.adbin, d.adrelid), remark) end,
                                      'comment', mcp._catalog_cut(col_description(a.attrelid, a.attnum), remark))
              into answer
              from pg_attribute a left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
             where a.attrelid = object and a.attnum = part;
        when kind in ('function', 'procedure', 'aggregate') then
            select jsonb_build_object('returns', mcp._catalog_cut(pg_get_function_result(p.oid), remark), 'language', l.lanname,
                                      'comment', mcp._catalog_cut(obj_description(p.oid, 'pg_proc'), remark),
                                      'definition', case when complete and p.prokind <> 'a' then mcp._catalog_cut(pg_get_functiondef(p.oid), longest) end)
              into answer
              from pg_proc p join pg_language l on l.oid = p.prolang where p.oid = object;
        when kind in ('enum', 'domain', 'composite type', 'range', 'type') then
            answer := mcp._catalog_type_detail(object);
        when kind = 'schema' then
            select jsonb_build_object('owner', pg_get_userbyid(n.nspowner), 'comment', mcp._catalog_cut(obj_description(n.oid, 'pg_namespace'), remark),
                                      'can_create', case when complete then has_schema_privilege(n.oid, 'CREATE') end)
              into answer from pg_namespace n where n.oid = object;
        when kind = 'sequence' then
            select jsonb_build_object('type', format_type(s.seqtypid, null),
                                      'owned_by', (select format('%s.%I', mcp._table_name(d.refobjid), a.attname)
                                                     from pg_depend d join pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
                                                    where d.classid = 'pg_class'::regclass and d.objid = object and d.deptype in ('a', 'i')
                                                      and d.refclassid = 'pg_class'::regclass limit 1))
                   || case when complete then jsonb_build_object('start', s.seqstart, 'increment', s.seqincrement, 'min', s.seqmin, 'max', s.seqmax,
                                                                 'cycle', s.seqcycle) else '{}' end
              into answer from pg_sequence s where s.seqrelid = object;
        when kind = 'extension' then
            select jsonb_build_object('version', e.extversion, 'schema', n.nspname, 'comment', mcp._catalog_cut(obj_description(e.oid, 'pg_extension'), remark))
              into answer from pg_extension e join pg_namespace n on n.oid = e.extnamespace where e.oid = object;
        when kind = 'index' then
            select jsonb_build_object('table', mcp._table_name(i.indrelid), 'unique', case when i.indisunique then true end,
                                      'valid', case when not i.indisvalid then false end,
                                      'definition', case when complete then mcp._catalog_cut(pg_get_indexdef(i.indexrelid), longest) end)
              into answer from pg_index i where i.indexrelid = object;
        when kind = 'constraint' then
            select jsonb_build_object('type', case k.contype when 'p' then 'primary key' when 'u' then 'unique' when 'f' then 'foreign key' when 'c' then 'check'
                                                   when 'x' then 'exclusion' when 't' then 'trigger' end,
                                      'definition', case when complete then mcp._catalog_cut(pg_get_constraintdef(k.oid, true), longest) end)
              into answer from pg_constraint k where k.oid = object;
        when kind = 'trigger' then
            select jsonb_build_object('function', format('%I.%I', n.nspname, p.proname), 'enabled', case when t.tgenabled = 'D' then false end,
                                      'definition', case when complete then mcp._catalog_cut(pg_get_triggerdef(t.oid), longest) end)
              into answer from pg_trigger t join pg_proc p on p.oid = t.tgfoid join pg_namespace n on n.oid = p.pronamespace where t.oid = object;
        when kind = 'policy' then
            select jsonb_build_object('command', mcp._catalog_policy_command(p.polcmd), 'permissive', case when not p.polpermissive then false end,
                                      'using', case when complete then mcp._catalog_cut(pg_get_expr(p.polqual, p.polrelid), remark) end,
                                      'check', case when complete then mcp._catalog_cut(pg_get_expr(p.polwithcheck, p.polrelid), remark) end)
              into answer from pg_policy p where p.oid = object;
        else
            answer := '{}';
    end case;
    return coalesce(jsonb_strip_nulls(answer), '{}');
end
$$;
comment on function mcp._catalog_detail(text, oid, integer, boolean) is '@support What there is to say of an object in a line, or complete with its definition';
