-- Owns: the documents that search_docs finds: the tables, who may read them, the administrator's functions and view.
-- Runs: in the sessions of administrators; search_docs reads the tables as its caller.
-- Must not: fetch anything. What is loaded is text that an administrator hands over.
--
-- Who may read: whoever may execute the tool search_docs, and administrators. That is a policy on the tables, so that EXECUTE alone is the
-- permission, however it was granted, and also for SELECT without the tool. Its price: under a policy PostgreSQL uses no index of words, since
-- the operator @@ is not leakproof. A search goes through all sections, which takes some milliseconds for each thousand.

create table mcp._docs (
    source text primary key check (source operator(pg_catalog.<>) ''),
    title text,
    url text,
    -- A name and no regconfig: pg_upgrade refuses columns of that type.
    language text not null,
    loaded_at timestamptz not null default pg_catalog.now(),
    loaded_by name not null default current_user
);
comment on table mcp._docs is 'Documents for search_docs. Read it through the view mcp.docs, write it with mcp.load_docs';
comment on column mcp._docs.source is 'Name by which the document is replaced and dropped';
comment on column mcp._docs.title is 'Title of the document';
comment on column mcp._docs.url is 'Where people read the document';
comment on column mcp._docs.language is 'Text search configuration that its words were read by';
comment on column mcp._docs.loaded_at is 'When the document was loaded';
comment on column mcp._docs.loaded_by is 'Role that loaded the document';
comment on constraint _docs_pkey on mcp._docs is 'Loading a source again replaces it';
comment on constraint _docs_source_check on mcp._docs is 'A document has a name';

create table mcp._doc_sections (
    source text not null references mcp._docs on delete cascade,
    place integer not null,
    heading text not null,
    body text not null,
    words tsvector not null,
    primary key (source, place)
);
comment on table mcp._doc_sections is 'Sections of the documents for search_docs';
comment on column mcp._doc_sections.source is 'Document that the section belongs to';
comment on column mcp._doc_sections.place is 'Number of the section in its document, from 1';
comment on column mcp._doc_sections.heading is 'Headings above the section, the outermost first, with > between them';
comment on column mcp._doc_sections.body is 'Text of the section';
comment on column mcp._doc_sections.words is 'Words to search: of the nearest heading with weight A, of those above it and the title with B, of the text with D';
comment on constraint _doc_sections_pkey on mcp._doc_sections is 'A document has one section in each place';
comment on constraint _doc_sections_source_fkey on mcp._doc_sections is 'Sections go with their document';

select pg_catalog.pg_extension_config_dump('mcp._docs', '');
select pg_catalog.pg_extension_config_dump('mcp._doc_sections', '');

create view mcp.docs with (security_invoker = true) as
    select d.source, d.title, d.url, d.language, s.sections, s.characters, d.loaded_at, d.loaded_by
      from mcp._docs d
      left join (select t.source, pg_catalog.count(*) as sections, pg_catalog.sum(pg_catalog.length(t.body)) as characters
                   from mcp._doc_sections t group by t.source) s on s.source operator(pg_catalog.=) d.source;
comment on view mcp.docs is 'Documents that are loaded for search_docs';
comment on column mcp.docs.source is 'Name by which the document is replaced and dropped';
comment on column mcp.docs.title is 'Title of the document';
comment on column mcp.docs.url is 'Where people read the document';
comment on column mcp.docs.language is 'Text search configuration that its words were read by';
comment on column mcp.docs.sections is 'How many sections it has';
comment on column mcp.docs.characters is 'How long its sections are together';
comment on column mcp.docs.loaded_at is 'When the document was loaded';
comment on column mcp.docs.loaded_by is 'Role that loaded the document';

create function mcp._doc_parts(content text) returns table (heading text[], body text)
language plpgsql immutable strict
set search_path = pg_catalog, pg_temp
as $$
declare
    lines constant text[] := string_to_array(replace(replace(content, E'\r\n', E'\n'), E'\r', E'\n'), E'\n');
    path text[] := '{}';
    gathered text[] := '{}';
    gathered_length integer := 0;
    fence text;
    first_line integer := 1;
    level integer;
    title text;
    line text;
begin
    -- What stands between --- and --- at the top is for programs.
    if lines[1] = '---' then
        first_line := coalesce(array_position(lines, '---', 2) + 1, 1);
    end if;
    for i in first_line .. cardinality(lines) + 1 loop
        line := lines[i];
        level := null;
        if fence is not null then
            -- Within a block of code # is no heading.
            if line ~ ('^ {0,3}' || fence || '+\s*$') then
                fence := null;
            end if;
        elsif line ~ '^ {0,3}(```|~~~)' then
            fence := substring(line from '(```|~~~)');
        elsif line ~ '^ {0,3}#{1,6}\s+\S' then
            level := length(substring(line from '#+'));
            title := btrim(regexp_replace(substring(line from '#+\s+(.*)$'), '\s+#+\s*$', ''));
        elsif line ~ '^(=+|-{3,})\s*$' and gathered[cardinality(gathered)] ~ '^[^\s|>*#+-]' and (line ~ '^=' or cardinality(gathered) = 1 or
              gathered[cardinality(gathered) - 1] ~ '^\s*$') then
            -- A heading that is underlined has been taken for text.
            level := case when line ~ '^=' then 1 else 2 end;
            title := btrim(gathered[cardinality(gathered)]);
            gathered := gathered[:cardinality(gathered) - 1];
        end if;
        -- A section ends with the next heading, or at a blank line when it is long, or anywhere when it is far too long.
        if line is null or level is not null or gathered_length > 6000 and line ~ '^\s*$' and fence is null or gathered_length > 20000 then
            body := btrim(array_to_string(gathered, E'\n'), E' \n');
            heading := path;
            if body <> '' then
                return next;
            end if;
            gathered := '{}';
            gathered_length := 0;
        end if;
        if level is not null then
            -- Headings that were left out (# and then ###) leave no gap.
            path := array_append(path[:least(level - 1, cardinality(path))], left(title, 200));
        elsif line is not null then
            gathered := array_append(gathered, line);
            gathered_length := gathered_length + length(line) + 1;
        end if;
    end loop;
end
$$;
comment on function mcp._doc_parts(text) is 'Splits Markdown by its headings; plain text, and what is long, by blank lines';

create function mcp.load_docs(source text, content text, title text default null, url text default null, language regconfig default 'english')
returns integer
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    named text := title;
    sections integer;
begin
    if coalesce(btrim(source), '') = '' or content is null then
        raise exception 'source and content must be given' using errcode = 'null_value_not_allowed',
            hint = 'For example: select mcp.load_docs(''guide'', pg_read_file(''/path/of/guide.md''));';
    end if;
    if octet_length(content) > 20000000 then
        raise exception 'a document may have at most 20 MB' using errcode = 'program_limit_exceeded', hint = 'Load it in parts, each with its own source.';
    end if;
    if url !~* '^https?://\S+$' then
        raise exception 'the URL of a document begins with http:// or https://' using errcode = 'invalid_parameter_value';
    end if;
    named := coalesce(nullif(btrim(named), ''),
                      btrim(substring(substring(content from '^---\r?\n(.*?)\r?\n---') from '(?n)^title:\s*(.*?)\s*$'), '"'' '),
                      (select p.heading[1] from mcp._doc_parts(content) p where cardinality(p.heading) > 0 limit 1));
    delete from mcp._docs d where d.source = load_docs.source;
    insert into mcp._docs (source, title, url, language) values (load_docs.source, named, load_docs.url, load_docs.language::text);
    insert into mcp._doc_sections (source, place, heading, body, words)
        select load_docs.source, p.place, h.heading, p.body,
               -- A tsvector has its own limit, 1 MB of words; a part is never near it.
               setweight(to_tsvector(load_docs.language, h.own), 'A') || setweight(to_tsvector(load_docs.language, concat_ws(' ', named, h.heading)), 'B')
               || setweight(to_tsvector(load_docs.language, p.body), 'D')
          from mcp._doc_parts(content) with ordinality as p (heading, body, place)
         cross join lateral (select array_to_string(p.heading, ' > ') as heading, coalesce(p.heading[cardinality(p.heading)], '') as own) h;
    get diagnostics sections = row_count;
    if sections = 0 then
        raise exception 'the document has no text' using errcode = 'invalid_parameter_value';
    end if;
    return sections;
end
$$;
comment on function mcp.load_docs(text, text, text, text, regconfig) is
    'Loads a document, Markdown or plain text, for search_docs, and returns the number of its sections. Replaces what the source had before';

create function mcp.drop_docs(source text) returns integer
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    sections integer;
begin
    select count(*) into sections from mcp._doc_sections s where s.source = drop_docs.source;
    delete from mcp._docs d where d.source = drop_docs.source;
    if not found then
        raise exception 'there is no document "%"', source
            using errcode = 'undefined_object',
                  hint = coalesce((select format('Perhaps you meant "%s".', n[1]) from mcp._near(left(source, 200), array(select d.source from mcp._docs d)) n
                                    where cardinality(n) > 0), 'The view mcp.docs shows what is loaded.');
    end if;
    return sections;
end
$$;
comment on function mcp.drop_docs(text) is 'Drops a document that mcp.load_docs loaded; returns the number of its sections';
