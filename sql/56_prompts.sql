-- Owns: the prompts and the resource that come with the extension.
-- Runs: as the caller, when the user of a client picks one.
-- Must not: promise tools that a caller may lack without saying so.

create function mcp.explore_database(topic text default null) returns text
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select format('Get to know the database %I%s. Call list_tables first, then describe_table for what matters, and look at a few rows with execute_sql and LIMIT '
                  'where you may. Then tell me: what the database is about, its main tables and how they belong together (keys, not guesses), how much data there is, '
                  'what is odd or risky, and three questions that its data can answer, each with the query.',
                  current_database(), case when btrim(topic) <> '' then ', above all what concerns: ' || topic else '' end)
$$;
comment on function mcp.explore_database(text) is
'@mcp({"kind": "prompt", "title": "Explore this database", "features": ["database"], "args": {"topic": "What you are interested in"}})
Has the model look around and explain what is here.';

create function mcp.diagnose_query(query text) returns text
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select format(E'Find out why this query is slow, and what would make it faster:\n\n%s\n\nCall explain_query on it (without analyze first; with it only if the query '
                  'may run for a while), describe_table for its tables, and advise_indexes if you have that tool. Say where the time goes, which estimate is off, and '
                  'propose changes in the order of their worth: to the query, to indexes, to statistics or settings. Give each as SQL, with what it costs to have. Change nothing.',
                  query)
$$;
comment on function mcp.diagnose_query(text) is
'@mcp({"kind": "prompt", "title": "Why is this query slow?", "features": ["database"], "args": {"query": "The statement"}})
Has the model look at a query''s plan and propose changes.';

create function mcp.review_security() returns text
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select 'Review how the tables of this database are protected. Call get_advisors with type security, and list_policies and list_roles_and_grants if you have those '
           'tools. For every table with personal or secret data say who can read and change it, through which grant or policy, and whether row level security holds for '
           'them. List what is wrong by its danger, each with the SQL that mends it. Change nothing.'::text
$$;
comment on function mcp.review_security() is
'@mcp({"kind": "prompt", "title": "Review security", "features": ["debugging"]})
Has the model check grants, policies and lints.';

create function mcp.table_definition(schema text, name text) returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$ select mcp.describe_table(name, schema) $$;
comment on function mcp.table_definition(text, text) is
'@mcp({"kind": "resource", "uri": "table:///{schema}/{name}", "title": "Definition of a table", "features": ["database"], "args": {"name": {"complete": "table"}}})
What describe_table says of a table.';
