-- Owns: the relationships that generate_typescript_types lists: foreign keys between tables, and through the views that show their columns.
-- Runs: as the caller; from the catalogs.
-- Must not: name a table or a column that the caller may not use.

create function mcp._ts_origins(schemas text[]) returns table (view oid, place integer, relation oid, number integer)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    -- Where a view's columns come from stands in its parsed query alone: {QUERY ... {TARGETENTRY ... :resno 1 ... :resorigtbl
    -- 16384 :resorigcol 1 ...}}. Those of the query itself are two braces deep, those of subqueries deeper. A backslash escapes
    -- what follows it; without those every brace counts. Each piece begins with a brace that opens, and holds one entry's end at most.
    with recursive pieces as (
        select c.oid as view, p.place, p.piece, length(p.piece) - length(replace(p.piece, '}', '')) as closed, strpos(p.piece, ' :resno ') as found
          from pg_namespace n
          join pg_class c on c.relnamespace = n.oid and c.relkind in ('v', 'm')
          join pg_rewrite w on w.ev_class = c.oid and w.ev_type = '1'
         cross join lateral string_to_table(regexp_replace(w.ev_action::text, '\\.', '', 'g'), '{') with ordinality as p (piece, place)
         where n.nspname = any (schemas)
    ), deep as (
        select p.*, p.place - 1 - sum(p.closed) over (partition by p.view order by p.place) as depth
          from pieces p
    ), entries as materialized (
        select d.view, e.found[1]::integer as place, e.found[2]::oid as relation, e.found[3]::integer as number
          from deep d
         cross join lateral (select substr(d.piece, d.found) as text) r
         cross join lateral regexp_match(r.text, '^ :resno (\d+) :resname \S* :ressortgroupref \d+ :resorigtbl ([1-9]\d*) :resorigcol (\d+) :resjunk false')
                            as e (found)
         where d.found > 0
           and d.depth + length(r.text) - length(replace(r.text, '}', '')) = 2
           and e.found is not null
    ), followed as (
        select e.*, array[e.relation] as path from entries e
        union all
        select f.view, f.place, e.relation, e.number, f.path || e.relation
          from followed f
          join entries e on e.view = f.relation and e.place = f.number
         where not e.relation = any (f.path)
    )
    select f.view, f.place, f.relation, f.number from followed f
$$;
comment on function mcp._ts_origins(text[]) is
    '@support Which column of which table a column of a view shows, through other views too';

create function mcp._ts_relationships(schemas text[]) returns table (relation oid, place bigint, item text)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    with recursive keys as materialized (
        select k.oid as key, k.conname, k.conrelid, k.confrelid, k.conkey, k.confkey,
               exists (select from pg_constraint u
                        where u.conrelid = k.conrelid and u.contype in ('p', 'u')
                          and array(select c.number from unnest(u.conkey) c (number) order by 1) = k.conkey) as single
          from pg_constraint k
          join pg_namespace n on n.oid = k.connamespace
         where k.contype = 'f'
           and k.conparentid = 0
           and n.nspname = any (schemas)
    ), ends as (
        -- Both sides of each key, where the table itself has its columns.
        select k.key, false as target, k.conrelid as relation, k.conkey as numbers from keys k
        union all
        select k.key, true, k.confrelid, k.confkey from keys k
    ), origins as materialized (
        select o.view, o.place, o.relation, o.number from mcp._ts_origins(schemas) o where exists (select from keys)
    ), shown as (
        -- A view that shows all columns of a side stands in for the table, once for each choice of its columns.
        select e.key, e.target, o.view, e.relation, e.numbers, 1 as reached, array[o.place] as places
          from ends e
          join origins o on o.relation = e.relation and o.number = e.numbers[1]
        union all
        select s.key, s.target, s.view, s.relation, s.numbers, s.reached + 1, s.places || o.place
          from shown s
          join origins o on o.view = s.view and o.relation = s.relation and o.number = s.numbers[s.reached + 1]
    ), sides as (
        select e.key, e.target, e.relation, e.numbers::integer[] as numbers from ends e
        union all
        select s.key, s.target, s.view, s.places from shown s where s.reached = cardinality(s.numbers)
    ), named as (
        select s.key, s.target, s.relation, r.schema, r.name, s.numbers,
               array(select a.attname::text from unnest(s.numbers) with ordinality u (number, place)
                       join pg_attribute a on a.attrelid = s.relation and a.attnum = u.number order by u.place) as columns
          from sides s
          join mcp._ts_relations(schemas) r on r.relation = s.relation
         where not exists (select from unnest(s.numbers) u (number)
                            where not has_column_privilege(s.relation, u.number::smallint, 'SELECT, INSERT, UPDATE, REFERENCES'))
    )
    select f.relation,
           row_number() over (partition by f.relation order by mcp._ts_order(k.conname) collate "C", mcp._ts_order(t.name) collate "C",
                                                               mcp._ts_order(to_json(t.columns)::text) collate "C", f.numbers, t.numbers),
           format(E'          {\n            foreignKeyName: %s\n%s\n            isOneToOne: %s\n            referencedRelation: %s\n%s\n          },',
                  mcp._ts_string(k.conname),
                  mcp._ts_list(12, 'columns', array(select mcp._ts_string(c) from unnest(f.columns) c)),
                  k.single::text,
                  mcp._ts_string(t.name),
                  mcp._ts_list(12, 'referencedColumns', array(select mcp._ts_string(c) from unnest(t.columns) c)))
      from keys k
      join named f on f.key = k.key and not f.target
      join named t on t.key = k.key and t.target and t.schema = f.schema
$$;
comment on function mcp._ts_relationships(text[]) is
    '@support The entries of Relationships for each table and view, in order';
