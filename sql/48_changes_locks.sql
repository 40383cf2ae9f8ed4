-- Owns: the locks, the rows and the sequences that a transaction has touched.
-- Runs: as the caller; pg_locks and the counters of one's own transaction are open to everybody.
-- Must not: look at tables that the transaction has not locked.

create function mcp._lock_strength(mode text) returns integer
language sql immutable strict
set search_path = pg_catalog, pg_temp
as $$
    select array_position('{AccessShareLock,RowShareLock,RowExclusiveLock,ShareUpdateExclusiveLock,ShareLock,ShareRowExclusiveLock,ExclusiveLock,AccessExclusiveLock}', mode)
$$;
comment on function mcp._lock_strength(text) is '@support 1 (ACCESS SHARE) to 8 (ACCESS EXCLUSIVE)';

create function mcp._lock_blocks(strength integer) returns text
language sql immutable strict
set search_path = pg_catalog, pg_temp
as $$
    select case
               when strength = 8 then 'reads and writes'
               when strength = 7 then 'writes and SELECT FOR UPDATE or SHARE, not plain reads'
               when strength in (5, 6) then 'writes, not reads'
               when strength = 4 then 'other DDL and VACUUM, not reads and writes'
               when strength = 3 then 'CREATE INDEX and most DDL, not reads and writes'
               else 'only DDL that blocks reads'
           end
$$;
comment on function mcp._lock_blocks(integer) is '@support What a lock of a table keeps other sessions from, in words';

create function mcp._own_locks() returns table (relation oid, strength integer)
language sql volatile
set search_path = pg_catalog, pg_temp
as $$
    -- Below are the catalogs. What has been dropped is still locked.
    select l.relation, max(mcp._lock_strength(l.mode))
      from pg_locks l
     where l.pid = pg_backend_pid() and l.locktype = 'relation' and l.granted and l.relation >= 16384
       and l.database = (select d.oid from pg_database d where d.datname = current_database())
     group by l.relation
$$;
comment on function mcp._own_locks() is '@support Relations that the present transaction has locked, each with the strongest lock';

create function mcp._own_counts() returns jsonb
language sql volatile
set search_path = pg_catalog, pg_temp
as $$
    -- They take in what an exception handler of the text has rolled back, and earlier calls for as long as the server's statistics have not
    -- been told: it is the difference that counts.
    select coalesce(jsonb_object_agg(n.oid, jsonb_build_array(n.inserted, n.updated, n.deleted)), '{}')
      from (select c.oid, pg_stat_get_xact_tuples_inserted(c.oid) as inserted, pg_stat_get_xact_tuples_updated(c.oid) as updated,
                   pg_stat_get_xact_tuples_deleted(c.oid) as deleted
              from pg_class c
             where c.relkind = 'r' and c.relnamespace <> 'pg_catalog'::regnamespace
            offset 0) n
     where n.inserted > 0 or n.updated > 0 or n.deleted > 0
$$;
comment on function mcp._own_counts() is '@support Counters of this process: rows inserted, updated and deleted, by table, as far as they are not zero';
