-- Limits: who may set and drop them, what is refused, and what the keeper tells of them.
-- Runs as roles that are not superusers, but for the set-up.
\pset format unaligned
set client_min_messages = error;
create extension if not exists supabase_mcp;
create function pg_temp.try(statement text) returns text language plpgsql as $$
declare m text; h text;
begin
    execute statement;
    return 'done';
exception when others then
    get stacked diagnostics m = message_text, h = pg_exception_hint;
    return concat_ws(' | ', sqlstate, m, nullif(h, ''));
end $$;
create role limits_admin login;
create role limits_agent login;
create role limits_other login;
create role limits_plain login;
grant mcp_admin to limits_admin;
grant limits_agent to limits_admin with admin option;
select mcp.create_token('limits_other', 'other''s') is not null as made;
select id as others from mcp.tokens where label = 'other''s' \gset
select mcp.set_limit(calls_per_minute => 1000), mcp.set_limit(tool => 'execute_sql', max_seconds => 20);

-- An administrator limits the roles that he administers, and their tokens.
set session authorization limits_admin;
select mcp.create_token('limits_agent', 'own') is not null as made;
select id as own from mcp.tokens where label = 'own' \gset
select mcp.set_limit('limits_agent', calls_per_minute => 60, burst => 5, max_concurrent => 2, max_rows => 50, max_bytes => 4096,
                     max_seconds => 1.5, queue_seconds => 0.25);
select mcp.set_limit('limits_agent', tool => 'list_tables', calls_per_minute => 6);
select mcp.set_limit(token => :own, read_only => true, max_rows => 10);
select role, token_label, tool, calls_per_minute as rate, burst, max_concurrent, max_rows, max_bytes, max_seconds, queue_seconds, read_only, created_by
  from mcp.limits order by role, token, tool;
-- Setting replaces the whole row.
select mcp.set_limit('limits_agent', tool => 'list_tables', max_rows => 3);
select role, tool, calls_per_minute, max_rows from mcp.limits where tool = 'list_tables';

-- Nobody else's, nobody's own, and not everybody's; and by hand neither.
select pg_temp.try($$select mcp.set_limit('limits_other', max_rows => 1)$$);
select pg_temp.try($$select mcp.set_limit('limits_admin', max_rows => 1)$$);
select pg_temp.try($$select mcp.set_limit(max_rows => 1)$$);
select pg_temp.try($$select mcp.drop_limit()$$);
select pg_temp.try(replace($$select mcp.set_limit(token => others, max_rows => 1)$$, 'others', :'others')) ~ '^42501 . permission denied to change the limits of token \d+ ' as refused;
select pg_temp.try($$insert into mcp._limits (role, max_rows) values ('limits_other', 1)$$);
select pg_temp.try($$insert into mcp._limits (role, max_rows) values ('limits_admin', 1)$$);
select pg_temp.try($$insert into mcp._limits (max_rows) values (1)$$);
select pg_temp.try($$insert into mcp._limits (role, max_rows) values (1, 1)$$);
select pg_temp.try(format('insert into mcp._limits (token, max_rows) values (%s, 1)', :others));
select pg_temp.try($$insert into mcp._limits (role, max_rows, created_by) values ('limits_agent', 1, 'limits_other')$$);
select pg_temp.try($$update mcp._limits set max_rows = null$$);
select pg_temp.try($$truncate mcp._limits$$);
select pg_temp.try($$insert into mcp._token_use values (1, now())$$);
delete from mcp._limits where role is null and token is null;
select count(*) as of_everybody from mcp.limits where role is null and token is null;

-- What makes no sense.
select pg_temp.try($$select mcp.set_limit('limits_agent')$$);
select pg_temp.try($$select mcp.set_limit('nobody_of_this_name', max_rows => 1)$$);
select pg_temp.try(format('select mcp.set_limit(''limits_agent'', %s, max_rows => 1)', :own));
select pg_temp.try($$select mcp.set_limit(token => -1, max_rows => 1)$$);
select pg_temp.try($$select mcp.set_limit('limits_agent', tool => '', max_rows => 1)$$);
select c.arguments, pg_temp.try(format('select mcp.set_limit(''limits_agent'', %s)', c.arguments)) as refused
  from unnest(array['calls_per_minute => 0', 'calls_per_minute => -1', 'burst => 1, max_rows => 1', 'burst => 0, calls_per_minute => 1',
                    'max_concurrent => 0', 'max_rows => 0', 'max_bytes => 1023', 'max_seconds => 0', 'max_seconds => 86401',
                    'max_seconds => ''NaN''', 'queue_seconds => 0']) c (arguments);
select pg_temp.try($$select mcp.drop_limit('limits_agent', tool => 'no_such_tool')$$);
-- None of the failures left anything behind.
select count(*) from mcp.limits;

-- An ordinary role sees and changes nothing.
set session authorization limits_plain;
select pg_temp.try('select * from mcp.limits');
select pg_temp.try('select * from mcp._limits');
select pg_temp.try('select * from mcp._token_use');
select pg_temp.try('select mcp.set_limit(''limits_plain'', max_rows => 1)');
select pg_temp.try('select mcp.drop_limit(''limits_agent'')');
select pg_temp.try('select mcp._limits_of(0, null)');
select pg_temp.try('select mcp._tokens_used(''{}'')');

-- What the keeper tells.
reset session authorization;
select jsonb_pretty(mcp._limits_of('limits_agent'::regrole, :own));
select mcp._limits_of('limits_other'::regrole, null);
select mcp._limits_of('limits_other'::regrole, :others) = mcp._limits_of('limits_other'::regrole, null) as same;

-- Uses of tokens: the latest stays, unknown tokens are passed over.
select last_used_at from mcp.tokens where label = 'own';
select mcp._tokens_used(jsonb_build_object(:'own', 1000000, '-1', 5, :'others', 2000000.5));
select mcp._tokens_used(jsonb_build_object(:'own', 900000));
set timezone = 'UTC';
select label, last_used_at from mcp.tokens order by label collate "C";
begin transaction read only;
select mcp._tokens_used(jsonb_build_object(:'own', 3000000));
rollback;

-- Limits go with their token, and stay behind a role until somebody clears them away.
set session authorization limits_admin;
select mcp.revoke_token('own');
select count(*) as of_token from mcp.limits where token is not null;
select mcp.drop_limit('limits_agent');
select pg_temp.try($$select mcp.drop_limit('limits_agent')$$);
reset session authorization;
select count(*) from mcp._token_use;
select 'limits_agent'::regrole::oid as gone \gset
drop role limits_agent;
select mcp._limits_of(null, null);
select pg_temp.try(format('select mcp.set_limit(%s::regrole, max_rows => 1)', :gone));
set session authorization limits_admin;
select pg_temp.try(format('select mcp.drop_limit(%s::regrole, tool => ''list_tables'')', :gone));
reset session authorization;
select mcp.drop_limit(), mcp.drop_limit(tool => 'execute_sql');
select count(*) from mcp.limits;
delete from mcp._tokens;
drop role limits_admin, limits_other, limits_plain;
