-- Owns: the one question that the keeper process asks the database: who does this credential stand for, and what is that role; and what
-- it writes down there: when tokens were last used.
-- Runs: in the keeper, one per active database, as the bootstrap superuser; on a hot standby as well, so the question never writes.
-- Must not: take SQL, names of objects or anything but values from the request; be executable by anybody but the owner.

create function mcp._role_facts(role oid) returns jsonb
language sql stable strict
set search_path = pg_catalog, pg_temp
as $$
    -- What Postgres itself does not check for background workers is here for the gateway to check at each call.
    select jsonb_build_object(
               'role_oid', a.oid::bigint,
               'role', a.rolname,
               'can_login', a.rolcanlogin,
               'bridge_oid', (select b.oid::bigint from pg_authid b where b.rolname = 'mcp_bridge'),
               'privileged', mcp._privileged(a.oid),
               'createrole', exists (select from pg_authid c where c.rolcreaterole and pg_has_role(a.oid, c.oid, 'MEMBER')),
               'valid_until', case
                                  when a.rolvaliduntil = 'infinity' then null
                                  when a.rolvaliduntil = '-infinity' then 0
                                  else floor(extract(epoch from a.rolvaliduntil))
                              end,
               'connection_limit', a.rolconnlimit,
               'ascii', pg_encoding_to_char(d.encoding) not in ('UTF8', 'SQL_ASCII'),
               'can_connect', d.datallowconn and has_database_privilege(a.oid, d.oid, 'CONNECT'))
      from pg_authid a
     cross join pg_database d
     where a.oid = role
       and d.datname = current_database()
$$;
comment on function mcp._role_facts(oid) is 'What the gateway must know of a role before it serves it; null if there is no such role';

create function mcp._keeper(request jsonb) returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    not_found constant jsonb := '{"found": false}';
    peer constant jsonb := request -> 'peer';
    token record;
    token_id bigint;
    role_oid oid;
    answer jsonb;
begin
    if request ? 'token' then
        if request ->> 'token' !~ '^[0-9a-f]{64}$' then
            return not_found;
        end if;
        select t.id, t.label, t.role, t.expires_at, t.read_only, t.settings, t.features into token
          from mcp._tokens t where t.hash = decode(request ->> 'token', 'hex');
        -- The clock and not now(): the keeper may have waited for its transaction.
        if not found or token.expires_at <= clock_timestamp() then
            return not_found;
        end if;
        role_oid := token.role;
        token_id := token.id;
        answer := jsonb_build_object(
            'principal', 'token:' || token.id,
            'label', token.label,
            'read_only', token.read_only,
            'features', token.features,
            -- A value that is no text is given as its JSON: claims, say.
            'settings', (select coalesce(jsonb_object_agg(s.key, coalesce(s.value #>> '{}', '')), '{}') from jsonb_each(token.settings) s),
            'token_expires', case when isfinite(token.expires_at) then floor(extract(epoch from token.expires_at)) end);

    elsif peer is not null then
        -- A number in the map is a user id and nothing else; a name that looks like one never stands for it.
        select p.role into role_oid
          from mcp._peer_map p
         where p.os_user = peer ->> 'name' and p.os_user !~ '^[0-9]+$'
            or p.os_user = peer ->> 'uid' and p.os_user ~ '^[0-9]+$'
         order by p.os_user ~ '^[0-9]+$'
         limit 1;
        if not found and (peer ->> 'equal_names')::boolean then
            select a.oid into role_oid from pg_authid a where a.rolname = peer ->> 'name';
        end if;
        answer := jsonb_build_object(
            'principal', 'peer:' || (peer ->> 'uid'), 'label', peer ->> 'name', 'read_only', false, 'token_expires', null);

    elsif request ? 'password' then
        select a.oid,
               jsonb_build_object(
                   'principal', 'password:' || a.rolname, 'label', a.rolname, 'read_only', false, 'token_expires', null,
                   -- Only SCRAM: an MD5 verifier is as good as the password to whoever reads it.
                   'verifier', case when a.rolpassword like 'SCRAM-SHA-256$%' then a.rolpassword end)
          into role_oid, answer
          from pg_authid a where a.rolname = request #>> '{password,role}';

    elsif request ? 'anonymous' then
        select a.oid into role_oid from pg_authid a where a.rolname = request #>> '{anonymous,role}';
        answer := jsonb_build_object('principal', 'anonymous', 'label', null, 'read_only', false, 'token_expires', null);

    elsif request ? 'jwt' then
        -- The gateway has verified the token; who its subject is, it knows by itself.
        select a.oid into role_oid from pg_authid a where a.rolname = request #>> '{jwt,role}';
        answer := jsonb_build_object('principal', 'jwt', 'label', null, 'read_only', false, 'token_expires', null);

    elsif request ? 'status' then
        return jsonb_build_object(
            'found', true,
            'server', jsonb_build_object('version_num', current_setting('server_version_num')::integer,
                                         'in_recovery', pg_is_in_recovery()),
            'database', current_database(),
            'extension_version', (select e.extversion from pg_extension e where e.extname = 'supabase_mcp'),
            'tokens', (select count(*) from mcp._tokens),
            'peers', (select count(*) from mcp._peer_map));
    else
        raise exception 'the keeper does not know this request' using errcode = 'invalid_parameter_value';
    end if;

    -- What one token carries is locked for all callers, or those without it could pretend to carry it.
    answer := answer || jsonb_build_object('locked', array(select distinct k from mcp._tokens t, jsonb_object_keys(t.settings) k));
    -- A role that was dropped meanwhile has no facts, and its credential stands for nobody.
    return coalesce(jsonb_build_object('found', true) || answer || mcp._role_facts(role_oid)
                    || jsonb_build_object('limits', mcp._limits_of(role_oid, token_id),
                                          'audit_key', (select encode(k.key, 'hex') from mcp._audit_key k)), not_found);
end
$$;
comment on function mcp._keeper(jsonb) is
    'Answers the gateway''s question who a token, peer, password role, signed token''s role or anonymous caller is; run by the keeper process alone';

create function mcp._tokens_used(uses jsonb) returns jsonb
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    noted integer;
begin
    -- On a standby, or where default_transaction_read_only is on for all, nothing can be written, and nothing is missing.
    if current_setting('transaction_read_only')::boolean then
        return to_jsonb(0);
    end if;
    -- Callers wait for this process: not for a disk or for a synchronous standby.
    perform set_config('synchronous_commit', 'off', true);
    -- A token that is being revoked is skipped: waiting for it would keep callers waiting for the keeper.
    insert into mcp._token_use as u (token, last_used_at)
    select t.id, to_timestamp(n.at)
      from (select e.key::bigint as id, e.value::double precision as at from jsonb_each_text(uses) e) n
      join mcp._tokens t on t.id = n.id
       for key share of t skip locked
        on conflict on constraint _token_use_pkey do update set last_used_at = greatest(u.last_used_at, excluded.last_used_at);
    get diagnostics noted = row_count;
    return to_jsonb(noted);
end
$$;
comment on function mcp._tokens_used(jsonb) is
    'Writes down when tokens were last used (seconds since 1970 by their numbers), and says how many; run by the keeper process alone';
