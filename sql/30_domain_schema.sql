-- Owns: what a domain's CHECK constraints say that JSON Schema can say too: bounds, lengths, patterns, lists of values.
-- Runs: as the caller, whenever tools are listed or called.
-- Must not: run a constraint, or read more into one than it says. What is not understood is left out: a call tells of it then.

create function mcp._conjuncts(expression text) returns text[]
language plpgsql immutable strict
set search_path = pg_catalog, pg_temp
as $$
declare
    depth integer := 0;
    quoted boolean := false;
    closed boolean := false;
    first integer := 1;
    c text;
    parts text[] := '{}';
begin
    -- One pass over the text as pg_get_expr writes it: every operation stands in parentheses, AND between those of one depth.
    if left(expression, 1) <> '(' then
        return array[expression];
    end if;
    for i in 1 .. length(expression) loop
        c := substr(expression, i, 1);
        if c = '''' then
            quoted := not quoted;
        elsif quoted then
            null;
        elsif c in ('(', '[') then
            depth := depth + 1;
        elsif c in (')', ']') then
            depth := depth - 1;
            if depth = 0 and i = length(expression) and not closed then
                -- The parentheses were around all of it.
                return mcp._conjuncts(substr(expression, 2, length(expression) - 2));
            end if;
            closed := closed or depth = 0;
        elsif depth = 0 and substr(expression, i, 5) = ' AND ' then
            parts := parts || substr(expression, first, i - first);
            first := i + 5;
        end if;
    end loop;
    parts := parts || substr(expression, first);
    if cardinality(parts) = 1 then
        return parts;
    end if;
    return array(select unnest(mcp._conjuncts(p)) from unnest(parts) p);
end
$$;
comment on function mcp._conjuncts(text) is '@support The conditions that an expression joins by AND, without their outer parentheses';

create function mcp._portable_pattern(pattern text) returns boolean
language sql immutable strict
set search_path = pg_catalog, pg_temp
as $$
    -- Read alike by PostgreSQL and by ECMAScript with its flag u: characters, ".", escaped ones, lists of characters, groups, bounds.
    select length(pattern) <= 500
           and pattern ~ '^([^][(){}*+?\\]|\\[][\\^$.*+?(){}|/dw]|\[\^?-?([A-Za-z0-9_ .,:;@%&#!=<>~"''/*+?$|(){}]-?|\\[][\\^./dw-](?!-))+\]|\((\?:)?(?!\?)|\)|(?<=.)([*+?]|\{[0-9]{1,3}(,[0-9]{0,3})?\})(?![*+?{]))*$'
           and pattern !~ '^\*\*\*|(^|[(|^])([*+?]|\{[0-9])'
           -- Digits and letters are more in PostgreSQL, so their opposite is less.
           and pattern !~ '\[\^[^]]*\\[dw]'
$$;
comment on function mcp._portable_pattern(text) is '@support Whether a regular expression means the same to JSON Schema as to PostgreSQL; false when in doubt';

create function mcp._condition_schema(condition text, base jsonb) returns jsonb
language plpgsql immutable strict
set search_path = pg_catalog, pg_temp
as $$
declare
    -- VALUE and literals as pg_get_expr writes them.
    own_value constant text := format('(?:VALUE|\(VALUE\)::(?:%s))', case when base ->> 'type' = 'integer' then 'smallint|integer|bigint|numeric|double precision'
                                                                         else 'text|character varying|numeric|double precision' end);
    number constant text := '(?:\((-?[0-9.]+)\)::[a-z ]+|''(-?[0-9.]+)''::[a-z ]+|(-?[0-9.]+))';
    word constant text := '''(?:[^'']|'''')*''::[^,\]\[()'']+';
    is_text constant boolean := base ->> 'type' = 'string' and not base ?| '{format,description}';
    m text[];
    n numeric;
begin
    if base ->> 'type' in ('integer', 'number') then
        m := regexp_match(condition, format('^%s (>=|<=|>|<|=) %s$', own_value, number));
        if m is null then
            m := regexp_match(condition, format('^%s (>=|<=|>|<) %s$', number, own_value));
            m := case when m is not null then array[translate(m[4], '<>', '><'), m[1], m[2], m[3]] end;
        end if;
        if m is not null then
            n := coalesce(m[2], m[3], m[4])::numeric;
            return case m[1] when '>=' then jsonb_build_object('minimum', n) when '<=' then jsonb_build_object('maximum', n)
                             when '>' then jsonb_build_object('exclusiveMinimum', n) when '<' then jsonb_build_object('exclusiveMaximum', n)
                             else jsonb_build_object('enum', jsonb_build_array(n)) end;
        end if;
        if condition ~ format('^%s = ANY \(ARRAY\[%s(?:, %s)*\]\)$', own_value, number, number) then
            return jsonb_build_object('enum', (select jsonb_agg(coalesce(r.m[1], r.m[2], r.m[3])::numeric)
                                                 from regexp_matches(substring(condition from 'ARRAY\[(.*)\]'), number, 'g') r (m)));
        end if;
        m := regexp_match(condition, format('^\(%s %% %s\) = 0$', own_value, number));
        n := coalesce(m[1], m[2], m[3])::numeric;
        return case when n > 0 and base ->> 'type' = 'integer' then jsonb_build_object('multipleOf', n) end;
    elsif base ->> 'type' = 'array' then
        m := regexp_match(condition, '^(?:cardinality\(VALUE\)|array_length\(VALUE, 1\)) (>=|<=|>|<|=) ([0-9]{1,9})$');
        return mcp._length_schema(m[1], m[2]::numeric, 'minItems', 'maxItems');
    elsif is_text then
        m := regexp_match(condition, format('^(?:length|char_length|character_length)\(%s\) (>=|<=|>|<|=) ([0-9]{1,9})$', own_value));
        if m is not null then
            return mcp._length_schema(m[1], m[2]::numeric, 'minLength', 'maxLength');
        end if;
        if condition ~ format('^%s <> ''''::text$', own_value) then
            return '{"minLength": 1}';
        end if;
        m := regexp_match(condition, format('^%s ~ (%s)$', own_value, word));
        if m is not null then
            m[1] := replace(substring(m[1] from '^''(.*)''::text$'), '''''', '''');
            return case when mcp._portable_pattern(m[1]) then jsonb_build_object('pattern', m[1]) end;
        end if;
        m := regexp_match(condition, format('^%s = (?:(%s)|ANY \(\(?ARRAY\[(%s(?:, %s)*)\](?:::[a-z ]+\[\])?\)?(?:::text\[\])?\))$', own_value, word, word, word));
        if m is not null then
            return jsonb_build_object('enum', (select jsonb_agg(replace(r.m[1], '''''', ''''))
                                                 from regexp_matches(coalesce(m[1], m[2]), '''((?:[^'']|'''')*)''::[^,\]\[()'']+', 'g') r (m)));
        end if;
    end if;
    return null;
exception when others then
    -- A number or an expression in a form that was not thought of.
    return null;
end
$$;
comment on function mcp._condition_schema(text, jsonb) is
    '@support Keywords of JSON Schema that say the same as one condition of a CHECK constraint; null if there are none';

create function mcp._length_schema(operator text, n numeric, least_key text, most_key text) returns jsonb
language sql immutable strict
set search_path = pg_catalog, pg_temp
as $$
    select case operator when '>=' then jsonb_build_object(least_key, n) when '>' then jsonb_build_object(least_key, n + 1)
                         when '<=' then jsonb_build_object(most_key, n) when '<' then jsonb_build_object(most_key, greatest(n - 1, 0))
                         else jsonb_build_object(least_key, n, most_key, n) end
$$;
comment on function mcp._length_schema(text, numeric, text, text) is '@support Keywords for a length that is compared with a number';

create function mcp._domain_schema(type oid, base jsonb) returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
-- Quotes and backslashes come as they are.
set standard_conforming_strings = on
as $$
declare
    result jsonb := base;
    c record;
begin
    for c in
        select k.key, k.value
          from pg_constraint t
         cross join lateral pg_get_expr(t.conbin, 0) as e (expression)
         cross join lateral unnest(mcp._conjuncts(e.expression)) as p (condition)
         cross join lateral jsonb_each(mcp._condition_schema(p.condition, base)) k
         where t.contypid = type and t.contype = 'c' and length(e.expression) <= 4000
         order by t.conname, k.key, k.value
    loop
        -- Of two conditions the narrower counts, whether they stand here or in the domain below.
        if c.key = 'enum' and result ? 'enum' then
            result := result || jsonb_build_object('enum', coalesce((select jsonb_agg(v) from jsonb_array_elements(c.value) v
                                                                      where result -> 'enum' @> v), c.value));
        elsif c.key = 'pattern' and result ? 'pattern' then
            result := result || jsonb_build_object('allOf', coalesce(result -> 'allOf', '[]') || jsonb_build_object('pattern', c.value));
        elsif result ? c.key and c.key ~* 'minimum|minLength|minItems' then
            result := result || jsonb_build_object(c.key, greatest((result ->> c.key)::numeric, (c.value #>> '{}')::numeric));
        elsif result ? c.key and c.key ~* 'maximum|maxLength|maxItems' then
            result := result || jsonb_build_object(c.key, least((result ->> c.key)::numeric, (c.value #>> '{}')::numeric));
        else
            result := result || jsonb_build_object(c.key, c.value);
        end if;
    end loop;
    if (result ->> 'exclusiveMinimum')::numeric >= (result ->> 'minimum')::numeric then
        result := result - 'minimum';
    end if;
    if (result ->> 'exclusiveMaximum')::numeric <= (result ->> 'maximum')::numeric then
        result := result - 'maximum';
    end if;
    return result;
end
$$;
comment on function mcp._domain_schema(oid, jsonb) is
    '@support JSON Schema of a domain: that of its base type, narrowed by what can be read off its CHECK constraints';
