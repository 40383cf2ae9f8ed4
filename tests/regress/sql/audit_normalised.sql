-- Statements of the audit trail: found in recorded arguments, and shown without their constants, whatever the text is.
-- Runs as a superuser, but for the last part.
\pset format unaligned
\pset tuples_only on
set client_min_messages = error;
create extension if not exists supabase_mcp;
reset client_min_messages;
-- Prints null as such.
\pset null (null)

-- Strings of every kind, numbers, and what looks like them.
select mcp._audit_normalised(t) from (values
    (1, 'select * from shop.orders where id = 7 and note = ''it''''s'' limit 10'),
    (2, 'select E''a\''b'', e''\u00e9'', B''101'', b''1'', X''1F'', x''ff'', N''n'', n''n'', U&''d\0061ta'', u&''d!0061ta'' UESCAPE ''!'''),
    (3, 'select $$one$$, $tag$two $$ $tag$, $_$it''s$_$, a$b, "quoted ''name''", U&"n!0061me" uescape ''!'''),
    (4, 'select 1, -1, +1, 1.5, .5, 1., 1e5, 1E-5, 1.5e+10, 99999999999999999999, a.b, a[1:2], 1..10'),
    (5, 'select ''2026-01-01''::date, date ''2026-01-01'', cast(''5'' as int), ''a'' ''b'''),
    (6, E'select ''a''\n  ''b'', ''c'' -- ''no'' 1\n  \'d\', /* 2 /* \'nested\' */ 3 */ \'e\''),
    (7, 'select $1, $2 || ''x'', $10, 5 where a = $3'),
    (8, 'select 1; select ''two''; -- done 3'),
    (9, 'select 5::text || 5 - -5 * a - 5, true, null, current_date, interval ''1 day'', x is not null'),
    (10, 'insert into t values (1, ''a''), (2, ''b''); alter role r password ''hunter2''; do $$ begin raise notice ''x''; end $$'),
    (11, 'no statement at all, but words and ''text'''),
    (12, 'select ''über'', Ünnäme, ''日本'''),
    (13, ''), (14, '   '), (15, '-- only a comment'), (16, 'select uescape ''x'', n, e, ''y'''), (17, 'select ?, a ? ''b'', @@ 1, a->>''b'', 5!=6'),
    (18, 'select ''a\b'''), (19, 'select U&''\00g''')) v (n, t) order by n;

-- What cannot be read is null: it must neither fail nor show a half of it.
select t, mcp._audit_normalised(t) from unnest(array[
    'select ''open', 'select "open', 'select $$open', 'select $a$open$b$', '/* open', 'select E''\u00g''', 'select E''\ud800''', 'select B''open',
    'select "" from t', 'select 1a', 'select $1a', 'select E''\377'' /* no character */', 'select ''ok'' /* /* */', 'select E''a\000b''',
    'select $99999999999999999999999']) t;
select mcp._audit_normalised(null) is null;

-- The same whatever the session has set, and nothing is said on the way.
set standard_conforming_strings = off;
set escape_string_warning = on;
set backslash_quote = off;
select mcp._audit_normalised('select ''a' || chr(92) || ''', E''a' || chr(92) || '''b'''), mcp._audit_normalised(format('select 1 as %s', repeat('n', 70)));
reset standard_conforming_strings;
reset backslash_quote;

-- Long ones.
select length(n), left(n, 30), right(n, 20) from mcp._audit_normalised('select ' || repeat('1,', 500000) || '''end''') n;
select mcp._audit_normalised('select ''' || repeat('x', 1000000) || '''');
select length(mcp._audit_normalised(repeat('/* ', 100000) || repeat('*/ ', 100000) || ' select ' || repeat('(', 100000)));
select mcp._audit_normalised('select 1 /' || repeat('*', 200) || '/ + 2');
-- The lexer would take the square of their length in time.
select mcp._audit_normalised(t) from unnest(array[repeat('/*', 1000000) || repeat('*/', 1000000), 'select ' || repeat('+', 1000000) || '1']) t;
select mcp._audit_normalised(repeat('select ''a'' ', 100000) || '''open');
-- A transaction goes on after texts that cannot be read.
begin;
select count(mcp._audit_normalised('select ''open' || i)), count(mcp._audit_normalised('select ' || i)) from generate_series(1, 1000) i;
select count(*) from pg_backend_memory_contexts where name like 'supabase_mcp lexer%';
commit;

-- The statement in what was recorded, as far as it was kept.
select mcp._audit_statement(t, a) from (values
    (1, 'execute_sql', '{"query": "select \"a\"\n, \u00e9 \\"}'), (2, 'explain_query', '{"analyze": true, "query": "select 1"}'), (3, 'preview_sql', '{"query": "a", "query": "b"}'),
    (4, 'apply_migration', '{"name": "x", "query": "create table t ()"}'), (5, 'advise_indexes', '{}'), (6, 'list_tables', '{"query": "no"}'),
    (7, 'execute_sql', '{"params": ["{", "}\""], "query": "select ''cut in the mid'), (8, 'execute_sql', '{"query": "cut \ud83d\ud'), (9, 'execute_sql', '#0123456789abcdef'),
    (10, 'execute_sql', ''), (11, 'execute_sql', null), (12, 'execute_sql', '{"query": ["a"]}'), (13, 'execute_sql', '{"query": "nul \u0000"}')) v (n, t, a) order by n;
-- Every tool that takes SQL is known.
select p.proname, string_agg(mcp._audit_statement(p.proname, '{"query": "known"}'), ' ')
  from pg_proc p
 where p.pronamespace = 'mcp'::regnamespace and obj_description(p.oid, 'pg_proc') like '@mcp({"kind": "tool"%"sql": true%' group by p.proname order by 1;
select mcp._audit_normalised(mcp._audit_statement('execute_sql', '{"query": "select * from t where a = 5"}'));

-- Hashes: HMAC-SHA-256, by a key that is there once and is nobody's.
select mcp._audit_hash(decode(repeat('0b', 32), 'hex'), 'Hi There'), mcp._audit_hash('short', 'Hi There');
select mcp.audit_hash('hunter2') ~ '^#[0-9a-f]{16}$', mcp.audit_hash('hunter2') = mcp.audit_hash('hunter2'), mcp.audit_hash('hunter2') = mcp.audit_hash('hunter3');
select count(*), min(length(key)), max(only_row::int) from mcp._audit_key;
create role normal_reader;
grant mcp_auditor to normal_reader;
set role normal_reader;
select mcp._audit_normalised('select 1'), mcp._audit_statement('execute_sql', '{"query": "select 1"}');
select mcp.audit_hash('a');
select has_function_privilege('mcp._audit_normalised(text)', 'execute'), has_function_privilege('mcp._audit_statement(text,text)', 'execute'),
       has_function_privilege('mcp.audit_hash(text)', 'execute'), has_function_privilege('mcp._audit_hash(bytea,bytea)', 'execute'), has_table_privilege('mcp._audit_key', 'select');
reset role;
drop role normal_reader;

-- Databases in other encodings.
create database golden_audit_latin1 encoding latin1 template template0 lc_collate 'C' lc_ctype 'C';
create database golden_audit_ascii encoding sql_ascii template template0 lc_collate 'C' lc_ctype 'C';
create database golden_audit_euc encoding euc_jp template template0 lc_collate 'C' lc_ctype 'C';
\connect golden_audit_latin1
set client_min_messages = error;
create extension supabase_mcp;
set client_encoding = utf8;
select mcp._audit_normalised('select ''é'', Ünnäme, E''\u00e9'', 5'), mcp._audit_normalised('select E''\u65e5'''), mcp._audit_statement('execute_sql', '{"query": "é \u00e9 \u0041"}');
\connect golden_audit_ascii
set client_min_messages = error;
create extension supabase_mcp;
select encode(convert_to(mcp._audit_normalised(convert_from('\x73656c65637420ff2c2027fe2720e9', 'SQL_ASCII')), 'SQL_ASCII'), 'escape');
\connect golden_audit_euc
set client_min_messages = error;
create extension supabase_mcp;
set client_encoding = utf8;
select mcp._audit_normalised('select ''日本'', 日本, 5'), mcp._audit_statement('execute_sql', '{"query": "日 \u65e5"}');
\connect postgres
drop database golden_audit_latin1;
drop database golden_audit_ascii;
drop database golden_audit_euc;
