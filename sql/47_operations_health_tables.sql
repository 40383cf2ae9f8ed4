-- Owns: the health checks of databases and tables: wraparound, vacuum, statistics, indexes, constraints, sequences.
-- Runs: as the caller. Catalogs and counters are shown to everybody; a sequence's value to those who may use it.
-- Must not: open a table: one that is locked would hold the check up, and ten thousand take too long.

create function mcp._health_wraparound() returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    -- At two thousand million transactions or multixacts the server stops to write.
    with databases as (
        select d.datname, age(d.datfrozenxid) as xids, mxid_age(d.datminmxid) as multixacts, greatest(age(d.datfrozenxid), mxid_age(d.datminmxid)) as worst
          from pg_database d
    ), tables as (
        select mcp._table_name(coalesce(i.indrelid_of, c.oid)) as name, age(c.relfrozenxid) as xids, mxid_age(c.relminmxid) as multixacts
          from (select c.oid, c.relfrozenxid, c.relminmxid from pg_class c
                 where c.relkind in ('r', 'm', 't') and c.relfrozenxid <> '0'
                 order by greatest(age(c.relfrozenxid), mxid_age(c.relminmxid)) desc, c.oid limit 3) c
          left join lateral (select o.oid as indrelid_of from pg_class o where o.reltoastrelid = c.oid) i on true
    )
    select mcp._finding(
               mcp._grade((select max(d.worst) from databases d), 5e8, 1e9, 1.5e9),
               format('The oldest transaction id is %s transactions old, the oldest multixact %s, of 2,000,000,000 (%s %%).',
                      (select max(d.xids) from databases d), (select max(d.multixacts) from databases d), (select round(max(d.worst) / 2e7, 1) from databases d)),
               jsonb_build_object(
                   'databases', (select jsonb_agg(jsonb_build_object('name', d.datname, 'xid_age', d.xids, 'multixact_age', d.multixacts) order by d.worst desc)
                                   from (select * from databases order by worst desc, datname limit 3) d),
                   'tables', (select jsonb_agg(jsonb_build_object('name', t.name, 'xid_age', t.xids, 'multixact_age', t.multixacts)) from tables t)),
               'VACUUM (FREEZE) the oldest tables; look for what holds VACUUM back: old transactions, prepared transactions, slots.')
$$;
comment on function mcp._health_wraparound() is '@support Health check: age of transaction ids and multixacts';

create function mcp._health_vacuum() returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    with tables as materialized (
        select c.oid, pg_stat_get_live_tuples(c.oid) as live, pg_stat_get_dead_tuples(c.oid) as dead,
               coalesce(pg_stat_get_last_autovacuum_time(c.oid), pg_stat_get_last_vacuum_time(c.oid)) is null as never,
               exists (select from unnest(c.reloptions) o where o ~* '^autovacuum_enabled=(false|off|no|0|f)') as off
          from pg_class c
         where c.relkind in ('r', 'm') and c.oid >= 16384 and c.relpersistence <> 't'
    ), full_of_dead as (
        select t.* from tables t where t.dead > 10000 and t.dead > t.live * 0.2 order by t.dead desc limit 5
    )
    select mcp._finding(
               mcp._worst(array[(select mcp._grade(max(100.0 * f.dead / greatest(f.live + f.dead, 1)), 17, 40, null) from full_of_dead f),
                                case when count(*) filter (where t.off) > 0 then 'notice' end]),
               format('%s dead rows in %s tables; %s tables have more than a fifth of dead rows, %s were never vacuumed (since the counters were reset), autovacuum is off for %s.',
                      coalesce(sum(t.dead), 0), count(*), count(*) filter (where t.dead > 10000 and t.dead > t.live * 0.2),
                      count(*) filter (where t.never and t.live + t.dead > 10000), count(*) filter (where t.off)),
               jsonb_strip_nulls(jsonb_build_object(
                   'dead_rows', (select jsonb_agg(jsonb_build_object('table', mcp._table_name(f.oid), 'dead', f.dead, 'live', f.live) order by f.dead desc) from full_of_dead f),
                   'never_vacuumed', to_jsonb((array_agg(mcp._table_name(t.oid) order by t.live + t.dead desc)
                                                  filter (where t.never and t.live + t.dead > 10000))[1:5]),
                   'autovacuum_off', to_jsonb((array_agg(mcp._table_name(t.oid) order by t.live + t.dead desc) filter (where t.off))[1:5]))),
               'VACUUM those tables; if they fill up again, lower autovacuum_vacuum_scale_factor for them, and look for old transactions with list_activity.')
      from tables t
$$;
comment on function mcp._health_vacuum() is '@support Health check: dead rows, tables never vacuumed, autovacuum switched off for tables';

create function mcp._health_statistics() returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    with tables as materialized (
        select c.oid, pg_stat_get_live_tuples(c.oid) as live, pg_stat_get_mod_since_analyze(c.oid) as changed,
               coalesce(pg_stat_get_last_autoanalyze_time(c.oid), pg_stat_get_last_analyze_time(c.oid)) as analyzed, c.reltuples
          from pg_class c
         where c.relkind in ('r', 'm') and c.oid >= 16384 and c.relpersistence <> 't'
    ), graded as (
        select t.*, t.analyzed is null and t.reltuples < 0 and t.live > 1000 as never, t.changed > 1000 and t.changed > t.live * 0.5 as old from tables t
    )
    select mcp._finding(
               case when count(*) filter (where g.never and g.live > 100000 or g.old and g.live > 100000) > 0 then 'warning'
                    when count(*) filter (where g.never or g.old) > 0 then 'notice' else 'ok' end,
               format('%s tables with rows were never analyzed, of %s more than half has changed since. Counters of this database run since %s.',
                      count(*) filter (where g.never), count(*) filter (where g.old and not g.never),
                      coalesce((select to_char(d.stats_reset, 'YYYY-MM-DD HH24:MI') from pg_stat_database d where d.datname = current_database()), 'it was made')),
               to_jsonb((array_agg(jsonb_strip_nulls(jsonb_build_object('table', mcp._table_name(g.oid), 'rows', g.live, 'changed', g.changed, 'analyzed', g.analyzed))
                                   order by g.changed desc, g.oid) filter (where g.never or g.old))[1:5]),
               'Run ANALYZE on them: the planner guesses without statistics.')
      from graded g
$$;
comment on function mcp._health_statistics() is '@support Health check: tables whose planner statistics are missing or old';

create function mcp._health_indexes() returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    -- An index that is being built is invalid too, until it is done.
    with broken as materialized (
        select mcp._table_name(i.indexrelid) as name, mcp._table_name(i.indrelid) as "table",
               exists (select from pg_locks l where l.relation = i.indrelid and l.locktype = 'relation' and l.granted and l.pid <> pg_backend_pid()
                                             and l.database = (select d.oid from pg_database d where d.datname = current_database())
                                             and l.mode = 'ShareUpdateExclusiveLock') as building
          from pg_index i
          join pg_class c on c.oid = i.indexrelid
         where not (i.indisvalid and i.indisready and i.indislive)
           -- Of a partitioned index it says that a partition has none.
           and c.relkind = 'i'
    )
    select mcp._finding(case when bool_or(not b.building) then 'warning' else 'ok' end,
                        case when count(*) = 0 then 'All indexes are valid.'
                             else format('%s indexes are invalid%s.', count(*) filter (where not b.building),
                                         case when bool_or(b.building) then format(', %s more may be in the making', count(*) filter (where b.building)) end) end,
                        to_jsonb((array_agg(jsonb_build_object('index', b.name, 'table', b.table, 'maybe_building', b.building) order by b.building, b.name))[1:10]),
                        'They cost writes and serve no query: reindex index concurrently, or drop them.')
      from broken b
$$;
comment on function mcp._health_indexes() is '@support Health check: invalid indexes';

create function mcp._health_constraints() returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    -- One that is not enforced (18) is not meant to be valid.
    select mcp._finding(case when count(*) > 0 then 'notice' else 'ok' end,
                        case when count(*) = 0 then 'All constraints are validated.' else format('%s constraints are not validated.', count(*)) end,
                        to_jsonb((array_agg(jsonb_build_object('constraint', quote_ident(k.conname), 'table', coalesce(mcp._table_name(k.conrelid), '')) order by k.conname, k.oid))[1:10]),
                        'Rows from before may break them: alter table ... validate constraint ..., which locks little.')
      from pg_constraint k
     where not k.convalidated
       and k.conparentid = 0
       and coalesce((to_jsonb(k) ->> 'conenforced')::boolean, true)
$$;
comment on function mcp._health_constraints() is '@support Health check: constraints that were never validated';

create function mcp._health_sequences() returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    -- To read a sequence is to open it: of very many the oldest are read. The column that one fills may be narrower than the
    -- sequence: an integer column ends at 2^31 - 1. Only what is beyond half of a smallint is looked up.
    with sequences as materialized (
        select s.*, has_sequence_privilege(s.seqrelid, 'SELECT, USAGE') as visible
          from (select * from pg_sequence order by seqrelid limit 5000) s
         where not s.seqcycle
    ), used as materialized (
        select s.*, pg_sequence_last_value(s.seqrelid)::numeric as last from sequences s where s.visible
    ), candidates as materialized (
        select * from used u where abs(u.last) >= least(16000, abs(case when u.seqincrement > 0 then u.seqmax else u.seqmin end) / 2)
    ), columns as materialized (
        select c.seqrelid as sequence, d.refobjid as relation, d.refobjsubid as attnum
          from candidates c
          join pg_depend d on d.classid = 'pg_class'::regclass and d.objid = c.seqrelid and d.objsubid = 0
                          and d.refclassid = 'pg_class'::regclass and d.deptype in ('a', 'i') and d.refobjsubid > 0
        union
        select c.seqrelid, a.adrelid, a.adnum
          from candidates c
          join pg_depend d on d.refclassid = 'pg_class'::regclass and d.refobjid = c.seqrelid and d.classid = 'pg_attrdef'::regclass
          join pg_attrdef a on a.oid = d.objid
    ), narrow as (
        select u.seqrelid, u.last, c.relation, a.attname, a.atttypid,
               case when u.seqincrement > 0
                    then least(u.seqmax, case a.atttypid when 'smallint'::regtype then 32767 when 'integer'::regtype then 2147483647 end)::numeric
                    else greatest(u.seqmin, case a.atttypid when 'smallint'::regtype then -32768 when 'integer'::regtype then -2147483648 end)::numeric end as "end"
          from candidates u
          left join columns c on c.sequence = u.seqrelid
          left join pg_attribute a on a.attrelid = c.relation and a.attnum = c.attnum
    ), shares as (
        select n.*, round(100 * n.last / n.end, 1) as share from narrow n where n.end <> 0 and sign(n.last) = sign(n.end)
    )
    select mcp._finding(
               case when (select count(*) filter (where s.visible) = 0 and count(*) > 0 from sequences s) then 'not_visible'
                    else mcp._grade((select max(h.share) from shares h), 50, 75, 90) end,
               format('%s of %s sequences have used more than half of their numbers%s.', (select count(distinct h.seqrelid) from shares h where h.share >= 50),
                      (select count(*) from sequences s where s.visible),
                      case when (select count(*) from pg_sequence) > 5000 then ' (the oldest 5,000 were looked at)' end),
               to_jsonb((select array_agg(jsonb_strip_nulls(jsonb_build_object(
                                   'sequence', mcp._table_name(h.seqrelid), 'column', mcp._table_name(h.relation) || '.' || quote_ident(h.attname),
                                   'type', format_type(h.atttypid, null), 'last', h.last, 'end', h.end, 'percent', h.share)) order by h.share desc, h.seqrelid)
                           from (select * from shares where share >= 50 order by share desc, seqrelid limit 5) h)),
               'Inserts fail at the end: alter the column (and the sequence) to bigint in time, which rewrites the table.',
               (select case when count(*) > 0 then mcp._needs(format('%s sequences on which you have neither SELECT nor USAGE', count(*)), 'pg_read_all_data') end
                  from sequences s where not s.visible))
$$;
comment on function mcp._health_sequences() is '@support Health check: sequences near the end of their own numbers or of their column''s type';
