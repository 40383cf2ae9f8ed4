-- Owns: how generate_typescript_types writes a function: its signature, and those of its overloads.
-- Runs: as the caller; reads names from the catalogs, for the word on overloads that cannot be told apart.
-- Must not: decide which functions are shown.

create function mcp._ts_conflict(function oid, ins jsonb, others jsonb) returns text
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    -- others: [{"ins", "function"}], all overloads in order. Two kinds of overloads cannot be told apart: one without arguments and one whose
    -- only argument has a default and no name; and two whose only argument has the same name.
    with rivals as (
        select o.place, (o.item ->> 'function')::oid as oid, o.item #> '{ins,0}' as argument
          from jsonb_array_elements(others) with ordinality as o (item, place)
         where jsonb_array_length(o.item -> 'ins') = 1
           and (o.item ->> 'function')::oid <> _ts_conflict.function
    ), candidates as (
        select case
                   when jsonb_array_length(ins) = 0 then (
                       select format('%1$s(), %1$s( => %2$s)', f.name, t.typname)
                         from rivals r
                         join pg_proc p on p.oid = r.oid
                         join pg_type t on t.oid = p.prorettype
                        where r.argument ->> 'name' = '' and (r.argument ->> 'optional')::boolean
                        order by r.place limit 1)
                   when jsonb_array_length(ins) = 1 and ins #>> '{0,name}' <> '' then (
                       select case when count(*) > 1 then
                                  string_agg(format('%s(%s => %s)', f.name, c.argument ->> 'name', t.typname), ', '
                                             order by t.oid, c.place) end
                         from (select 0 as place, ins -> 0 as argument
                               union all
                               select r.place, r.argument from rivals r
                                where r.argument ->> 'name' = ins #>> '{0,name}' and r.argument -> 'type' <> ins #> '{0,type}') c
                         join pg_type t on t.oid = (c.argument ->> 'type')::oid)
               end as list
          from (select n.nspname || '.' || p.proname as name
                  from pg_proc p join pg_namespace n on n.oid = p.pronamespace where p.oid = _ts_conflict.function) f
    )
    select 'Could not choose the best candidate function between: ' || c.list
           || '. Try renaming the parameters or the function itself in the database so function overloading can be resolved'
      from candidates c
$$;
comment on function mcp._ts_conflict(oid, jsonb, jsonb) is
    '@support What is wrong with a function that cannot be told from another of its name; null if nothing is';

create function mcp._ts_fields(pad integer, fields jsonb) returns text
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
    select string_agg(mcp._ts_field(pad, f.item ->> 'key', array(select jsonb_array_elements_text(f.item -> 'members')),
                                    (f.item ->> 'depth')::integer, coalesce((f.item ->> 'nullable')::boolean, false)), E'\n' order by f.place)
      from jsonb_array_elements(fields) with ordinality as f (item, place)
$$;
comment on function mcp._ts_fields(integer, jsonb) is '@support The lines of an object''s properties';

create function mcp._ts_signature(prefix text, pad integer, ins jsonb, result jsonb, suffix text, options text, fault text) returns text
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
declare
    outer_space constant text := E'\n' || repeat(' ', pad);
    space constant text := E'\n' || repeat(' ', pad + 2);
    members text[] := array(select jsonb_array_elements_text(result -> 'members'));
    depth integer := coalesce((result ->> 'depth')::integer, 0);
    args text := 'Record<PropertyKey, never>';
    returned text;
    line text;
begin
    if jsonb_array_length(ins) > 0 then
        args := (select '{ ' || string_agg(format('%s: %s', f.item ->> 'key',
                                    mcp._ts_flat(array(select jsonb_array_elements_text(f.item -> 'members')), (f.item ->> 'depth')::integer, false)),
                                    '; ' order by f.place) || ' }'
                   from jsonb_array_elements(ins) with ordinality as f (item, place));
    end if;
    if result -> 'fields' = '[]' then
        members := '{"{}"}';
    end if;
    if fault is not null then
        returned := '{ error: true } & ' || mcp._ts_string(fault) || suffix;
    elsif cardinality(members) > 0 then
        -- The brackets come after a union's last member, as PostgREST's clients know it.
        if suffix <> '' and cardinality(members) > 1 and depth = 0 then
            members[cardinality(members)] := members[cardinality(members)] || suffix;
        elsif suffix <> '' then
            depth := depth + 1;
        end if;
        returned := mcp._ts_flat(members, depth, false);
    end if;

    if returned is not null and options is null then
        line := format('{ Args: %s; Returns: %s }', args, returned);
        if mcp._ts_fits(prefix || line) then
            return line;
        end if;
    end if;
    line := space || 'Args: ' || args;
    if jsonb_array_length(ins) > 0 and not mcp._ts_fits(substr(line, 2)) then
        line := space || E'Args: {\n' || mcp._ts_fields(pad + 4, ins) || space || '}';
    end if;
    if fault is not null then
        line := line || space || 'Returns: '
                || case when mcp._ts_fits(substr(space, 2) || 'Returns: ' || returned) then returned
                        else '{' || space || '  error: true' || space || substr(returned, 15) end;
    elsif returned is not null then
        line := line || E'\n' || mcp._ts_field(pad + 2, 'Returns', members, depth, false);
    else
        line := line || space || E'Returns: {\n' || mcp._ts_fields(pad + 4, result -> 'fields') || space || '}' || suffix;
    end if;
    return '{' || line || coalesce(space || replace(options, E'\n', space), '') || outer_space || '}';
end
$$;
comment on function mcp._ts_signature(text, integer, jsonb, jsonb, text, text, text) is
    '@support A function''s arguments and result as an object; the prefix is what stands before it on its line';

create function mcp._ts_overloads(name text, functions jsonb) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    head constant text := '      ' || mcp._ts_key(name) || ':';
    single constant boolean := jsonb_array_length(functions) = 1;
    items text[];
begin
    -- functions: [{"function", "ins", "result", "suffix", "options"}] in order.
    items := array(
        select mcp._ts_signature(case when single then head || ' ' else '        | ' end, case when single then 6 else 10 end,
                                 f.item -> 'ins', f.item -> 'result', f.item ->> 'suffix', f.item ->> 'options',
                                 coalesce(case when not single then mcp._ts_conflict((f.item ->> 'function')::oid, f.item -> 'ins', functions) end,
                                          f.item ->> 'fault'))
          from jsonb_array_elements(functions) with ordinality as f (item, place)
         order by f.place);
    if single then
        return head || ' ' || items[1];
    elsif mcp._ts_fits(head || ' ' || array_to_string(items, ' | ')) then
        return head || ' ' || array_to_string(items, ' | ');
    end if;
    return head || E'\n        | ' || array_to_string(items, E'\n        | ');
end
$$;
comment on function mcp._ts_overloads(text, jsonb) is '@support A function''s property, with all its overloads';
