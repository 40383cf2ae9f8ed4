-- Owns: running a caller's SQL text from a function: taken apart into statements, under the caller's own search_path, with errors that say
-- which statement it was.
-- Runs: as the caller, within the transaction of the call. Postgres itself refuses what would begin or end a transaction.
-- Must not: decide from the text whether it is harmless. Where the end of a statement is not certain the text runs in one piece.

create function mcp._split_sql(query text) returns text[]
language plpgsql stable strict
set search_path = pg_catalog, pg_temp
as $$
declare
    blank constant text := E' \t\n\r\f\x0b';
    tokens text[];
    -- The last token of each statement.
    ends integer[] := '{}';
    total integer;
    i integer := 1;
    token text;
    following text;
    -- Inside of: string, escape (E''), name, line (comment), block (comment), dollar.
    state text;
    tag text;
    depth integer := 0;
    parens integer := 0;
    solid boolean := false;
    in_word boolean := false;
    last_word text;
    escape_ended boolean := false;
begin
    if octet_length(query) > 100000 or current_setting('standard_conforming_strings') <> 'on'
       or query ~* 'standard_conforming_strings\W+(to\W+)?''?(off|false|0|no)' then
        return null;
    end if;
    -- Words (any byte above 127 is a letter to Postgres), numbers, runs of what means nothing here, and single characters.
    tokens := array(select m[1] from regexp_matches(query,
        '[^\x01-@\[-^`{-\x7f][^\x01-/:-@\[-^`{-\x7f]*|[0-9]+|[\x01-\x09\x0b\x0c\x0e-!#%&+,.:<-@\[\]^`{-\x7f]+|.', 'g') m);
    if array_to_string(tokens, '') <> query then
        return null;
    end if;
    total := cardinality(tokens);
    while i <= total loop
        token := tokens[i];
        following := tokens[i + 1];
        if state is null then
            if token = '-' and following = '-' then
                state := 'line';
                i := i + 1;
            elsif token = '/' and following = '*' then
                state := 'block';
                depth := 1;
                i := i + 1;
            elsif btrim(token, blank) <> '' then
                if token <> ';' or parens > 0 then
                    solid := true;
                elsif solid then
                    ends := ends || i;
                    solid := false;
                    last_word := null;
                end if;
                if token = '''' then
                    -- After the newline an E'' string may go on in quotes of its own kind.
                    if escape_ended then
                        return null;
                    end if;
                    state := case when i > 1 and lower(tokens[i - 1]) = 'e' then 'escape' else 'string' end;
                elsif token = '"' then
                    state := 'name';
                elsif token = '(' then
                    parens := parens + 1;
                elsif token = ')' then
                    parens := parens - 1;
                elsif token = '$' and not in_word then
                    if following = '$' then
                        state := 'dollar';
                        tag := null;
                        i := i + 1;
                    elsif following ~ '^[^\x01-@\[-^`{-\x7f]' and tokens[i + 2] = '$' then
                        state := 'dollar';
                        tag := following;
                        i := i + 2;
                    end if;
                elsif token ~ '^[^\x01-@\[-^`{-\x7f]' then
                    -- The body of a function in SQL may be statements that end with semicolons.
                    if last_word = 'begin' and lower(token) = 'atomic' then
                        return null;
                    end if;
                    last_word := lower(token);
                end if;
                escape_ended := false;
            end if;
            in_word := state is null and (token ~ '^[^\x01-@\[-^`{-\x7f]' or in_word and token ~ '^([0-9]+|\$)$');
        elsif state = 'line' then
            if token in (E'\n', E'\r') then
                state := null;
            end if;
        elsif state = 'block' then
            if token = '*' and following = '/' then
                depth := depth - 1;
                i := i + 1;
                if depth = 0 then
                    state := null;
                end if;
            elsif token = '/' and following = '*' then
                depth := depth + 1;
                i := i + 1;
            end if;
        elsif state = 'dollar' then
            if token = '$' and tag is null and following = '$' then
                state := null;
                i := i + 1;
            elsif token = '$' and following = tag and tokens[i + 2] = '$' then
                state := null;
                i := i + 2;
            end if;
        elsif state = 'escape' and token = '\' then
            i := i + 1;
        elsif token = (case state when 'name' then '"' else '''' end) then
            -- A doubled quote ends and begins again, which comes to the same, but for the kind of a string.
            if token = '''' and following = '''' then
                i := i + 1;
            else
                escape_ended := state = 'escape';
                state := null;
            end if;
        end if;
        i := i + 1;
    end loop;
    if state in ('string', 'escape', 'name', 'block', 'dollar') or parens > 0 then
        return null;
    end if;
    if cardinality(ends) = 0 then
        return case when solid then array[query] else '{}' end;
    end if;
    if not solid then
        -- What comes after the last statement belongs to it.
        ends := ends[:cardinality(ends) - 1];
    end if;
    return array(select string_agg(u.token, '' order by u.place)
                   from unnest(tokens) with ordinality as u (token, place)
                  group by width_bucket((u.place - 1)::integer, ends)
                  order by width_bucket((u.place - 1)::integer, ends));
end
$$;
comment on function mcp._split_sql(text) is
    '@support The statements of a text, which joined are the text again; null where it is not certain where one ends. None for a text of comments';

create function mcp._statements(query text) returns text[]
language sql stable strict
set search_path = pg_catalog, pg_temp
as $$
    select case when cardinality(p.pieces) > 0
                then array(select btrim(regexp_replace(u.piece, '(;\s*)+$', ''), E' \t\n\r\f\x0b')
                             from unnest(p.pieces) with ordinality as u (piece, place)
                            where btrim(u.piece, E'; \t\n\r\f\x0b') <> '' order by u.place)
                else array[query] end
      from (select mcp._split_sql(query) as pieces) p
$$;
comment on function mcp._statements(text) is '@support The statements of a text as a migration''s record keeps them: without semicolons; the text as it is if they cannot be told apart';

create function mcp._check_may_write(tool text, query text) returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    if current_setting('transaction_read_only') = 'on' then
        raise exception '% needs a caller who may write', tool
            using errcode = 'read_only_sql_transaction',
                  hint = 'It runs the text, even where it keeps nothing. Use a connection, a token or a role that is not read-only.';
    end if;
    if length(query) < 10000 and mcp._split_sql(query) = '{}' or coalesce(btrim(query, E'; \t\n\r\f\x0b'), '') = '' then
        raise exception 'there is no statement in "query"'
            using errcode = 'invalid_parameter_value', hint = 'Give the SQL to run, without BEGIN and COMMIT.';
    end if;
end
$$;
comment on function mcp._check_may_write(text, text) is '@support Raises if the call may only read, or if its text has no statement';

create function mcp._run_sql(query text) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    -- A call begins in a clean session: what the role and the database say.
    path constant text := (select s.reset_val from pg_settings s where s.name = 'search_path');
    caller constant name := current_user;
    role constant text := current_setting('role');
    pieces text[] := coalesce(nullif(mcp._split_sql(query), '{}'), array[query]);
    piece text;
    number integer := 0;
    state text; message text; detail text; hint text; context text;
    of_column text; of_constraint text; of_table text; of_schema text;
    place text;
begin
    begin
        perform set_config('search_path', path, true);
        -- From here to the next set_config names are looked up by the caller's search_path.
        foreach piece in array pieces loop
            number := number operator(pg_catalog.+) 1;
            execute piece;
        end loop;
        number := null;
        -- What would fail at the end fails here, where it can be told.
        set constraints all immediate;
        perform pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
        if current_user <> caller then
            perform set_config('role', role, false);
        end if;
    exception when others then
        get stacked diagnostics state = returned_sqlstate, message = message_text, detail = pg_exception_detail, hint = pg_exception_hint,
            context = pg_exception_context, of_column = column_name, of_constraint = constraint_name, of_table = table_name,
            of_schema = schema_name;
        if number is null then
            place := 'When the deferred constraints were checked, after all statements.';
        else
            place := format('Statement %s of %s, at line %s: %s', number, cardinality(pieces),
                            1 + (select count(*) from regexp_matches(array_to_string(pieces[1:number - 1], '')
                                                                     || substring(pieces[number] from '^\s*'), '\n', 'g')),
                            left(btrim(pieces[number], E' \t\n\r\f\x0b'), 200)
                            || case when length(btrim(pieces[number], E' \t\n\r\f\x0b')) > 200 then ' ... (cut)' else '' end);
        end if;
        -- Functions and triggers in which it happened.
        detail := concat_ws(E'\n', nullif(detail, ''), place,
                            (select 'In ' || string_agg(l.line, ', from ') from (
                                select l.line from string_to_table(context, E'\n') with ordinality as l (line, place)
                                 where l.line ~ '^(PL/|SQL )[^ ]* ?function' and l.line !~ 'function mcp\.' order by l.place limit 5) l));
        if state = '25001' then
            message := regexp_replace(message, ' cannot (run inside a subtransaction|be executed from a function)$', ' cannot run inside a transaction block');
            hint := 'All of a call is one transaction. '
                    || case when message ~ 'CONCURRENTLY' then 'Leave CONCURRENTLY out, which locks out writers meanwhile, or have this statement run on its own by psql.'
                            else 'Have this statement run on its own, by psql or another client.' end;
        elsif state = '0A000' and message ~ 'EXECUTE of transaction commands' or state = '2D000' then
            state := '2D000';
            message := 'transaction commands cannot be used here';
            hint := 'The whole text is one transaction, kept only if all of it succeeds. Leave BEGIN, COMMIT, ROLLBACK and SAVEPOINT out.';
        elsif state = '0A000' and message ~ 'EXECUTE of SELECT' then
            message := 'SELECT INTO cannot be used here';
            hint := 'Write CREATE TABLE ... AS SELECT ... instead.';
        elsif state = '55P04' then
            hint := 'Use the new enum value in a call of its own, after the one that adds it.';
        elsif state = '55P03' then
            hint := 'Another session holds the lock. Try again later, or find who holds it and why.';
        end if;
        hint := coalesce(nullif(hint, ''), 'Nothing of the text was kept.');
        if of_constraint <> '' then
            raise exception using errcode = state, message = message, detail = detail, hint = hint,
                                  constraint = of_constraint, table = of_table, schema = of_schema;
        elsif of_column <> '' then
            raise exception using errcode = state, message = message, detail = detail, hint = hint,
                                  column = of_column, table = of_table, schema = of_schema;
        end if;
        raise exception using errcode = state, message = message, detail = detail, hint = hint;
    end;
end
$$;
comment on function mcp._run_sql(text) is
    '@support Runs a text of the current user''s, all or nothing, under the search_path of a new session, and fires deferred constraints; errors name the statement';
