-- mcp._split_sql: where statements end, and where it is not said. What it gives is joined the text again.
\pset format unaligned
set client_min_messages = error;
create extension if not exists supabase_mcp;
create temporary table texts (place int generated always as identity, text text);
insert into texts (text) values
    ($t$select 1$t$),
    ($t$select 1; select 2;$t$),
    ($t$vacuum v; vacuum w$t$),
    ($t$select ';', 'it''s; one' ; select ";""x;" from "a;b"$t$),
    ($t$select e'\'; one', E'a''b\\'; select 2$t$),
    ($t$select U&'\0041;', u&"x;y", b'1', x'f;', n';'; select 'plain \'; select 3$t$),
    ($t$select 1 -- a; comment '
; select 2 -- the end;$t$),
    ($t$select 1 /* a; /* nested; */ ' */; select 2 /**/; /* */$t$),
    ($t$select 2*/*; comment */3; select 4 - -1; select 5--;$t$),
    ($t$do $$ begin perform 1; perform ';'; end $$; select 2$t$),
    ($t$do $a$ begin perform $b$;$a; $$;$b$; end $a$; select 2$t$),
    ($t$select a$b$c; select $1; select 1$$;$$; select $é1$;$é1$$t$),
    ($t$create rule r as on insert to t do also (insert into u values (1); delete from u); select 1$t$),
    ($t$select '😀;', "naïve;", 'Ж'; select 2$t$),
    ($t$;;select 1;;; -- none
$t$),
    ($t$ -- nothing
$t$),
    ($t$$t$),
    -- Not certain: the text runs in one piece.
    ($t$create function f() returns int begin atomic; select 1; select 2; end; select 3$t$),
    ($t$select 'open; select 2$t$),
    ($t$select "open; select 2$t$),
    ($t$select $a$ open; $A$ select 2$t$),
    ($t$select /* open; /* */ select 2$t$),
    ($t$select (1; select 2$t$),
    ($t$select e'a'
'\'; select 2'$t$),
    ($t$set standard_conforming_strings = off; select '\'; select 2'$t$);
select t.place, to_jsonb(mcp._split_sql(t.text)) as pieces from texts t order by 1;
select t.place from texts t where array_to_string(mcp._split_sql(t.text), '') <> t.text and cardinality(mcp._split_sql(t.text)) > 0;
select mcp._statements(E'  select 1 ;\n\n-- of the second\nselect 2; ;\n'), mcp._statements('select ''open; select 2'), mcp._statements('-- none');

-- As Postgres splits them: each piece is one statement, also in a long text.
select cardinality(mcp._split_sql(repeat(E'insert into t values (''a;'', $$;$$); -- x;\n', 2000))), mcp._split_sql(repeat('select 1;', 20000)) is null as too_long;
set standard_conforming_strings = off;
select mcp._split_sql('select 1; select 2') is null as uncertain;
