-- Owns: the tool search_docs, by the name of the Supabase MCP server: full text search in the documents that administrators loaded.
-- Runs: as the caller.
-- Must not: reach for the network; Supabase's own documentation is there only if somebody loaded it.

create function mcp._graphql_search(graphql_query text, out query text, out max_results integer, out content boolean)
language plpgsql immutable strict
set search_path = pg_catalog, pg_temp
as $$
declare
    call constant text := substring(graphql_query from 'searchDocs\s*\((.*)$');
    literal text;
begin
    -- As much of GraphQL as calls of searchDocs are written in; no parser.
    if graphql_query !~ '[{}]' then
        query := graphql_query;
        content := true;
        return;
    end if;
    literal := substring(call from '\mquery\s*:\s*"""((?:[^"]|"(?!""))*)"""');
    if literal is not null then
        query := btrim(literal, E' \n');
    else
        literal := substring(call from '\mquery\s*:\s*"((?:[^"\\]|\\.)*)"');
        begin
            query := ('"' || literal || '"')::jsonb #>> '{}';
        exception when others then
            query := literal;
        end;
    end if;
    max_results := left(substring(call from '\mlimit\s*:\s*(\d+)'), 6)::integer;
    content := call ~ '\mcontent\M';
end
$$;
comment on function mcp._graphql_search(text) is '@support What a GraphQL query for Supabase''s documentation searches; query is null if it is no search';

create function mcp._text_config(name text) returns regconfig
language plpgsql stable strict
set search_path = pg_catalog, pg_temp
as $$
begin
    return name::regconfig;
exception when undefined_object or invalid_schema_name or invalid_name then
    return null;
end
$$;
comment on function mcp._text_config(text) is '@support A text search configuration; null if it has been dropped since';

create function mcp._any_word(language regconfig, query text) returns tsquery
language sql stable strict
set search_path = pg_catalog, pg_temp
as $$
    select string_agg('''' || replace(replace(w.lexeme, '\', '\\'), '''', '''''') || '''', ' | ')::tsquery
      from unnest(to_tsvector(language, query)) w
$$;
comment on function mcp._any_word(regconfig, text) is '@support A search for any of the words of a text; null if it has none that count';

create function mcp.search_docs(query text default null, max_results integer default 5, whole_sections boolean default false, graphql_query text default null)
returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    wanted text := nullif(btrim(left(query, 2000)), '');
    most integer := max_results;
    -- How much of a section is given: all, or what is around the words.
    whole boolean := coalesce(whole_sections, false);
    graphql boolean := false;
    found jsonb;
begin
    if wanted is null and graphql_query is not null then
        select g.query, coalesce(g.max_results, most), g.content into wanted, most, whole from mcp._graphql_search(left(graphql_query, 10000)) g;
        graphql := true;
        wanted := nullif(btrim(left(wanted, 2000)), '');
    end if;
    if wanted is null then
        raise exception 'search_docs needs words to search for'
            using errcode = 'invalid_parameter_value',
                  hint = 'Give them in query. graphql_query is understood in the form { searchDocs(query: "words", limit: 5) { nodes { title href content } } }.';
    end if;
    most := least(greatest(coalesce(most, 5), 1), 20);

    with languages as materialized (
        select l.language, l.config, websearch_to_tsquery(l.config, wanted) as every_word, mcp._any_word(l.config, wanted) as any_word
          from (select distinct d.language, mcp._text_config(d.language) as config from mcp._docs d) l
         where l.config is not null
    ), hits as (
        select s.source, s.place, s.heading, s.body, d.title, d.url, l.config, l.any_word, s.words @@ l.every_word as best,
               ts_rank('{0.2, 0.2, 0.4, 1.0}', s.words, l.any_word) as rank
          from languages l
          join mcp._docs d on d.language = l.language
          join mcp._doc_sections s on s.source = d.source
         where s.words @@ l.any_word or s.words @@ l.every_word
         order by best desc, rank desc, s.source, s.place
         limit most
    ), listed as (
        select row_number() over (order by h.best desc, h.rank desc, h.source, h.place) as place,
               case when graphql then
                   jsonb_build_object('title', coalesce(nullif(h.heading, ''), h.title, h.source), 'href', h.url)
                   || case when whole then jsonb_build_object('content', h.body) else '{}' end
               else
                   jsonb_strip_nulls(jsonb_build_object('title', coalesce(h.title, h.source), 'heading', nullif(h.heading, ''), 'url', h.url,
                                                        'source', h.source, 'rank', round(h.rank::numeric, 4)))
                   || case when whole then jsonb_build_object('text', h.body)
                           else jsonb_build_object('snippet', ts_headline(h.config, h.body, h.any_word,
                                    'MaxFragments=2, MinWords=15, MaxWords=40, FragmentDelimiter=" ... ", StartSel=**, StopSel=**')) end
               end as item
          from hits h
    ), sized as (
        select l.*, l.place = 1 or sum(octet_length(l.item::text)) over (order by l.place) <= mcp._byte_budget() as fits from listed l
    )
    select coalesce(jsonb_agg(s.item order by s.place) filter (where s.fits), '[]') into found from sized s;

    return jsonb_build_object('result', case when graphql then jsonb_build_object('searchDocs', jsonb_build_object('nodes', found)) else found end)
           || case when found = '[]' and not exists (select from mcp._docs)
                   then '{"note": "No documents are loaded. An administrator loads some by mcp.load_docs."}' else '{}'::jsonb end;
end
$$;
comment on function mcp.search_docs(text, integer, boolean, text) is
'@mcp({"kind": "tool", "features": ["docs"], "title": "Search docs", "output": {"result": {}}})
Searches the documentation loaded here. Call it before you answer from memory.';

-- Needs the tool: see sql/49_supabase_docs.sql. The subselect is evaluated once and not for each row.
alter table mcp._docs enable row level security;
create policy search on mcp._docs for select to public using (
    (select pg_catalog.has_function_privilege('mcp.search_docs(text, integer, boolean, text)'::pg_catalog.regprocedure::pg_catalog.oid, 'EXECUTE')));
comment on policy search on mcp._docs is 'Who may execute search_docs may read what it searches';
create policy administer on mcp._docs to mcp_admin using (true) with check (true);
comment on policy administer on mcp._docs is 'Administrators load and drop documents';
alter table mcp._doc_sections enable row level security;
create policy search on mcp._doc_sections for select to public using (
    (select pg_catalog.has_function_privilege('mcp.search_docs(text, integer, boolean, text)'::pg_catalog.regprocedure::pg_catalog.oid, 'EXECUTE')));
comment on policy search on mcp._doc_sections is 'Who may execute search_docs may read what it searches';
create policy administer on mcp._doc_sections to mcp_admin using (true) with check (true);
comment on policy administer on mcp._doc_sections is 'Administrators load and drop documents';
