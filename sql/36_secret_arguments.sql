-- Owns: the question which arguments of a call are secret, for a call whose arguments do not fit. Of one that fits the description of the call says so.
-- Runs: as the caller, after such a call has failed, before anything of it is recorded.
-- Must not: fail because of the arguments; it is not given them.

create function mcp._secret_arguments(kind text, name text) returns jsonb
language plpgsql stable strict
set search_path = pg_catalog, pg_temp
as $$
begin
    if kind = 'prompt' then
        return (select mcp._secrets(o.directive) from mcp._offered('prompt', '[]') o where o.name = _secret_arguments.name);
    end if;
    return (select case when p.pronamespace = 'mcp'::regnamespace then '[]' else mcp._secrets(mcp._directive(obj_description(p.oid, 'pg_proc'))) end
              from mcp._find_tool(name) f
              join pg_proc p on p.oid = f.function);
end
$$;
comment on function mcp._secret_arguments(text, text) is '@support The secret arguments of a tool or a prompt of the current user; null if there is none of that name';
