-- Owns: which indexes could help a statement: read off its plan.
-- Runs: as the caller, from a plan that he could ask for and the catalogs.
-- Must not: take a name from a plan's text into SQL: what is found there only picks columns of the catalog.

create function mcp._plan_nodes(plan jsonb) returns table (path integer[], node jsonb)
language sql immutable strict rows 20
set search_path = pg_catalog, pg_temp
as $$
    with recursive nodes as (
        select '{}'::integer[] as path, case jsonb_typeof(plan) when 'array' then plan #> '{0,Plan}' else coalesce(plan -> 'Plan', plan) end as node
        union all
        select n.path || c.place::integer, c.node
          from nodes n
         cross join lateral jsonb_array_elements(n.node -> 'Plans') with ordinality as c (node, place)
    )
    select n.path, n.node from nodes n where jsonb_typeof(n.node) = 'object'
$$;
comment on function mcp._plan_nodes(jsonb) is '@support The nodes of a plan of EXPLAIN (FORMAT JSON), each with its place below the root';

create function mcp._plan_columns(plan jsonb)
returns table (relation oid, alias text, attnum smallint, usage text, place bigint, suffix text)
language sql stable strict rows 20
set search_path = pg_catalog, pg_temp
as $$
    -- EXPLAIN (VERBOSE) writes a column as alias.column, each quoted as quote_ident does. Literals go first: they may hold anything.
    with nodes as materialized (
        select p.path, p.node from mcp._plan_nodes(plan) p
    ), tables as materialized (
        select distinct n.node ->> 'Alias' as alias, c.oid, coalesce(pg_partition_root(c.oid)::oid, c.oid) as root
          from nodes n
          join pg_namespace s on s.nspname = n.node ->> 'Schema'
          join pg_class c on c.relnamespace = s.oid and c.relname = n.node ->> 'Relation Name'
         where c.relkind in ('r', 'm', 'p')
    ), conditions as (
        select regexp_replace(n.node ->> k.key, '''(?:[^'']|'''')*''', '''''', 'g') as condition
          from nodes n
         cross join unnest(array['Filter', 'Index Cond', 'Recheck Cond', 'Hash Cond', 'Merge Cond', 'Join Filter']) as k (key)
         where n.node ? k.key
    ), words as (
        -- A column before an operator, perhaps with a cast between them: ((t.name)::text = 'x'::text)
        select m[1] as alias, m[2] as name, m[3] as operator
          from conditions c
         cross join lateral regexp_matches(c.condition,
               '("(?:[^"]|"")+"|[a-z_][a-z0-9_]*)\.("(?:[^"]|"")+"|[a-z_][a-z0-9_]*)\)?(?:::[a-z][a-z0-9_ .]*(?:\([0-9,]+\))?)?\)? (=|>=|<=|<|>|IS NULL|~~|@>|<@|&&|\?|@@)',
               'g') m
        union all
        select m[2], m[3], m[1]
          from conditions c
         cross join lateral regexp_matches(c.condition,
               ' (=|>=|<=|<|>) \(*("(?:[^"]|"")+"|[a-z_][a-z0-9_]*)\.("(?:[^"]|"")+"|[a-z_][a-z0-9_]*)', 'g') m
    ), sorted as (
        select n.path, k.place, count(*) over (partition by n.path) as keys,
               regexp_match(k.key, '^("(?:[^"]|"")+"|[a-z_][a-z0-9_]*)\.("(?:[^"]|"")+"|[a-z_][a-z0-9_]*)( DESC)?( NULLS FIRST| NULLS LAST)?$') as m
          from nodes n
         cross join lateral jsonb_array_elements_text(coalesce(n.node -> 'Sort Key', n.node -> 'Group Key')) with ordinality as k (key, place)
    ), used as (
        select w.alias, w.name, case when w.operator in ('=', 'IS NULL') then 'equal' when w.operator ~ '^[<>]=?$' then 'range'
                                     when w.operator = '~~' then 'like' else 'gin' end as usage, 0::bigint as place, '' as suffix
          from words w
        union
        -- Only of sorts that one table alone can give the order of.
        select s.m[1], s.m[2], 'sort', s.place, lower(concat(s.m[3], s.m[4]))
          from sorted s
         where not exists (select from sorted o where o.path = s.path and o.m[1] is distinct from s.m[1])
    )
    select distinct t.root, t.alias, a.attnum, u.usage, u.place, u.suffix
      from used u
      join tables t on quote_ident(t.alias) = u.alias
      join pg_attribute a on a.attrelid = t.oid and quote_ident(a.attname) = u.name and a.attnum > 0 and not a.attisdropped
     -- Numbers of columns differ between a partition and its parent.
     where t.oid = t.root
    union
    select distinct t.root, min(t.alias) over (partition by t.root), r.attnum, u.usage, u.place, u.suffix
      from used u
      join tables t on quote_ident(t.alias) = u.alias and t.oid <> t.root
      join pg_attribute a on a.attrelid = t.oid and quote_ident(a.attname) = u.name and a.attnum > 0 and not a.attisdropped
      join pg_attribute r on r.attrelid = t.root and r.attname = a.attname
$$;
comment on function mcp._plan_columns(jsonb) is
    '@support The columns that a plan compares or sorts by, with how: equal, range, like, gin (containment, text search) or sort';

create function mcp._index_candidates(plan jsonb) returns table (relation oid, command text, checkable boolean)
language sql stable strict rows 10
set search_path = pg_catalog, pg_temp
as $$
    with columns as materialized (
        select c.*, quote_ident(a.attname) as name, a.atttypid,
               coalesce(case when s.n_distinct < 0 then -s.n_distinct * greatest(r.reltuples, 1) else s.n_distinct end, 1) as distinct_values
          from mcp._plan_columns(plan) c
          join pg_attribute a on a.attrelid = c.relation and a.attnum = c.attnum
          join pg_class r on r.oid = c.relation
          join pg_namespace n on n.oid = r.relnamespace
          left join pg_stats s on s.schemaname = n.nspname and s.tablename = r.relname and s.attname = a.attname and s.inherited = (r.relkind = 'p')
         where n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
    ), equal as (
        -- The most selective first, four at most.
        select e.relation, e.alias, array_agg(e.attnum order by e.place) as keys, array_agg(e.name order by e.place) as names
          from (select c.relation, c.alias, c.attnum, c.name, row_number() over (partition by c.relation, c.alias order by c.distinct_values desc, c.attnum) as place
                  from columns c where c.usage = 'equal') e
         where e.place <= 4
         group by e.relation, e.alias
    ), sorts as (
        -- A descending order is an ascending index read backwards.
        select s.relation, s.alias, array_agg(s.attnum order by s.place) as keys,
               array_agg(s.name || case when s.uniform then '' else s.suffix end order by s.place) as names, bool_and(s.uniform) as plain
          from (select c.*, bool_and(c.suffix = ' desc') over w or bool_and(c.suffix = '') over w as uniform,
                       row_number() over (partition by c.relation, c.alias, c.place order by c.attnum) as turn
                  from columns c where c.usage = 'sort' and c.place <= 4
                window w as (partition by c.relation, c.alias)) s
         where s.turn = 1
         group by s.relation, s.alias
    ), btree as (
        select c.relation, array[c.attnum] as keys, array[c.name] as names, true as plain from columns c where c.usage in ('equal', 'range')
        union
        select e.relation, e.keys, e.names, true from equal e
        union
        select e.relation, e.keys[1:3] || c.attnum, e.names[1:3] || c.name, true
          from equal e join columns c on c.relation = e.relation and c.alias = e.alias and c.usage = 'range' and c.attnum <> all (e.keys)
        union
        select s.relation, s.keys, s.names, s.plain from sorts s
        union
        select e.relation, e.keys[1:3] || s.keys, e.names[1:3] || s.names, s.plain
          from equal e join sorts s on s.relation = e.relation and s.alias = e.alias and not s.keys && e.keys
        union
        select c.relation, array[c.attnum], array[c.name || ' text_pattern_ops'], false from columns c where c.usage = 'like' and c.atttypid = 'text'::regtype
    )
    (select b.relation, format('create index on %s (%s)', mcp._table_name(b.relation), array_to_string(b.names, ', ')), true
       from btree b
      where not b.plain
         or not exists (select from pg_index i
                          join pg_class x on x.oid = i.indexrelid
                          join pg_am m on m.oid = x.relam and m.amname = 'btree'
                         where i.indrelid = b.relation and i.indisvalid and i.indpred is null
                           and (i.indkey::int2[])[0:cardinality(b.keys) - 1] = b.keys)
      order by cardinality(b.keys), 2
      limit 24)
    union all
    select distinct c.relation, format('create index on %s using gin (%s%s)', mcp._table_name(c.relation), c.name,
                                       case when c.usage = 'like' then ' gin_trgm_ops' end), false
      from columns c
     where (c.usage = 'like' or c.usage = 'gin' and (select t.typcategory = 'A' or t.typname in ('jsonb', 'tsvector') from pg_type t where t.oid = c.atttypid))
       and not exists (select from pg_index i
                         join pg_class x on x.oid = i.indexrelid
                         join pg_am m on m.oid = x.relam and m.amname = 'gin'
                        where i.indrelid = c.relation and c.attnum = any (i.indkey))
$$;
comment on function mcp._index_candidates(jsonb) is
    '@support Indexes that could help a plan, as CREATE INDEX, and whether hypopg can check them; none that begins as an existing one does';
