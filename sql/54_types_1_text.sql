-- Owns: how a piece of TypeScript is written for generate_typescript_types: literals, keys, and where a line is broken.
-- Runs: as the caller; reads nothing.
-- Must not: write a line that a formatter of TypeScript (80 columns, no semicolons, double quotes) would write otherwise.
--
-- A type is a list of members (what a union is of), a depth (of how many arrays) and whether null is added. A field is
-- {"key": as written, "members": [...], "depth": n, "nullable": true}.

create function mcp._ts_order(name text) returns text
language plpgsql immutable strict parallel safe
set search_path = pg_catalog, pg_temp
as $$
declare
    -- A catalog's names come with collation "C", in which lower knows no letters but ASCII's.
    spelt text := name collate "default";
    letters text := lower(name collate "default");
    capitals text := translate(name, 'ABCDEFGHIJKLMNOPQRSTUVWXYZ', repeat('~', 26));
begin
    -- Sorted by bytes, the keys give the order that English collation gives the names: signs, digits, letters; marks count when
    -- the letters are the same, case when the marks are too. Not by an ICU collation: a server may be built without.
    if octet_length(name) > length(name) and getdatabaseencoding() = 'UTF8' then
        spelt := normalize(name, NFD);
        letters := lower(regexp_replace(spelt, '[\u0300-\u036f]', '', 'g') collate "default");
        -- Letters with a stroke and joined letters are marked too.
        if letters ~ '[\u00df\u00e6\u00f0\u00f8\u0111\u0127\u0142\u0153]' then
            letters := regexp_replace(regexp_replace(regexp_replace(regexp_replace(letters, '\u00df', 'ss', 'g'), '\u00e6', 'ae', 'g'),
                                                     '\u0153', 'oe', 'g'), '\u00f8', 'o', 'g');
            letters := regexp_replace(regexp_replace(regexp_replace(letters, '[\u00f0\u0111]', 'd', 'g'), '\u0127', 'h', 'g'), '\u0142', 'l', 'g');
        end if;
        capitals := regexp_replace(regexp_replace(spelt collate "default", '[^[:upper:]]', 'a', 'g'), '[^a]', '~', 'g');
    end if;
    return translate(letters, ' _-,;:!?.''"()[]{}@*/\&#%`^+<=>|~$',
                     E'\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f\x20\x21\x22\x23\x24\x25\x26\x27\x28\x29\x2a\x2b\x2c\x2d\x2e')
           || E'\x01' || lower(spelt collate "default")
           || E'\x01' || capitals;
end
$$;
comment on function mcp._ts_order(text) is '@support A key to sort names by, compared with collation "C"';

create function mcp._ts_string(value text) returns text
language sql immutable strict parallel safe
set search_path = pg_catalog, pg_temp
as $$
    -- In the quotes that need fewer escapes.
    select case
               when length(value) - length(replace(value, '"', '')) > length(value) - length(replace(value, '''', ''))
                   then '''' || replace(replace(substr(j.text, 2, length(j.text) - 2), '\"', '"'), '''', '\''') || ''''
               else j.text
           end
      from (select to_json(value)::text as text) j
$$;
comment on function mcp._ts_string(text) is '@support A string literal of TypeScript';

create function mcp._ts_key(name text) returns text
language plpgsql immutable strict parallel safe
set search_path = pg_catalog, pg_temp
as $$
declare
    -- Letters of the scripts that are in use, whatever the database's locale takes for one; a key in quotes means the same.
    letters constant text := 'A-Za-z_$\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u02c1\u03a3-\u03f5\u03f7-\u0481\u048a-\u052f\u0531-\u0556\u05d0-\u05ea\u0620-\u064a\u0904-\u0939'
                             '\u0e01-\u0e30\u10a0-\u10c5\u10d0-\u10fa\u1e00-\u1f15\u3041-\u3096\u30a1-\u30fa\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3';
begin
    return case when name ~ '^[A-Za-z_$][A-Za-z0-9_$]*$' or name ~ format('^[%1$s][%1$s0-9\u0300-\u036f]*$', letters) then name
                else mcp._ts_string(name) end;
end
$$;
comment on function mcp._ts_key(text) is '@support The key of a property, in quotes only where it needs them';

create function mcp._ts_fits(line text) returns boolean
language sql immutable strict parallel safe
set search_path = pg_catalog, pg_temp
as $$
    -- Characters of East Asian width take two columns, combining ones none.
    select case
               when octet_length(line) <= 80 then true
               when octet_length(line) = length(line) then false
               else length(line)
                    + length(regexp_replace(line, '[^\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6'
                                                  '\U0001f300-\U0001faff\U00020000-\U0003fffd]', '', 'g'))
                    - length(regexp_replace(line, '[^\u0300-\u036f\u200b-\u200d\ufe00-\ufe0f]', '', 'g')) <= 80
           end
$$;
comment on function mcp._ts_fits(text) is '@support Whether a line is no wider than 80 columns';

create function mcp._ts_flat(members text[], depth integer, nullable boolean) returns text
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
    select case when depth > 0 and cardinality(members) > 1 then '(' || array_to_string(members, ' | ') || ')'
                else array_to_string(members, ' | ') end
           || repeat('[]', depth)
           -- unknown holds null as it is.
           || case when nullable and (depth > 0 or members <> array['unknown']) then ' | null' else '' end
$$;
comment on function mcp._ts_flat(text[], integer, boolean) is '@support A type on one line';

create function mcp._ts_field(pad integer, key text, members text[], depth integer, nullable boolean) returns text
language plpgsql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
declare
    head constant text := repeat(' ', pad) || key || ':';
    line constant text := head || ' ' || mcp._ts_flat(members, depth, nullable);
    ends constant text := repeat('[]', depth);
    item text;
begin
    if mcp._ts_fits(line) then
        return line;
    elsif members = array['Record<string, unknown>'] and (depth = 0 or not nullable) then
        return format(E'%s Record<\n%2$sstring,\n%2$sunknown\n%3$s>%4$s%5$s', head, repeat(' ', pad + 2), repeat(' ', pad), ends,
                      case when nullable then ' | null' else '' end);
    elsif nullable and not (depth = 0 and members in (array['unknown'], array['Json'])) then
        if depth = 0 then
            return head || E'\n' || repeat(' ', pad + 2) || '| '
                   || array_to_string(members || 'null'::text, E'\n' || repeat(' ', pad + 2) || '| ');
        end if;
        item := repeat(' ', pad + 2) || '| ' || mcp._ts_flat(members, depth, false);
        if not mcp._ts_fits(item) and cardinality(members) > 1 then
            item := format(E'%s| (\n%s| %s\n%s)%s', repeat(' ', pad + 2), repeat(' ', pad + 6),
                           array_to_string(members, E'\n' || repeat(' ', pad + 6) || '| '), repeat(' ', pad + 4), ends);
        end if;
        return head || E'\n' || item || E'\n' || repeat(' ', pad + 2) || '| null';
    elsif cardinality(members) > 1 then
        item := array_to_string(members, E'\n' || repeat(' ', pad + 2) || '| ');
        return case when depth = 0 then format(E'%s\n%s| %s', head, repeat(' ', pad + 2), item)
                    else format(E'%s (\n%s| %s\n%s)%s', head, repeat(' ', pad + 2), item, repeat(' ', pad), ends) end;
    end if;
    return line;
end
$$;
comment on function mcp._ts_field(integer, text, text[], integer, boolean) is
    '@support A property with its type, indented; over several lines if one is too short';

create function mcp._ts_list(pad integer, key text, items text[], tail text default '') returns text
language sql immutable strict parallel safe
set search_path = pg_catalog, pg_temp
as $$
    select case when mcp._ts_fits(l.line) then l.line
                else format(E'%s%s: [\n%s%s,\n%1$s]%5$s', repeat(' ', pad), key, repeat(' ', pad + 2),
                            array_to_string(items, E',\n' || repeat(' ', pad + 2)), tail) end
      from (select format('%s%s: [%s]%s', repeat(' ', pad), key, array_to_string(items, ', '), tail) as line) l
$$;
comment on function mcp._ts_list(integer, text, text[], text) is
    '@support A property that holds a list of literals; the tail is what follows it on its line';

create function mcp._ts_block(pad integer, key text, body text, otherwise text default null) returns text
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
    select case
               when body <> '' then format(E'%s%s: {\n%s\n%1$s}', repeat(' ', pad), key, body)
               when otherwise is not null then format(E'%s%s: {\n%s\n%1$s}', repeat(' ', pad), key, otherwise)
               else format('%s%s: {}', repeat(' ', pad), key)
           end
$$;
comment on function mcp._ts_block(integer, text, text, text) is '@support A property that holds an object, from its lines';
