-- Owns: what the functions that read the audit trail have in common, and the list of those whom the trail knows.
-- Runs: in an auditor's session, with the auditor's own rights.
-- Must not: take silence for an answer: a misspelled name is an error, never an empty result.

create view mcp.audit_callers as
    select c.role, c.principal, c.label as token_label, c.authentication, c.issuer, c.subject, c.client, c.peer
      from mcp._audit_callers c;
comment on view mcp.audit_callers is 'Everybody whom the audit trail knows: one row for each combination of who, how, with which client and from where';
comment on column mcp.audit_callers.role is 'The database role; null where the credential stood for nobody';
comment on column mcp.audit_callers.principal is 'token:<id>, peer:<uid>, password:<role>, jwt:<issuer>:<subject> or anonymous; null where the credential stood for nobody';
comment on column mcp.audit_callers.token_label is 'The token''s label, or the operating system user''s name';
comment on column mcp.audit_callers.authentication is 'token, peer, password, jwt or anonymous: what the caller showed';
comment on column mcp.audit_callers.issuer is 'Issuer of a JSON Web Token';
comment on column mcp.audit_callers.subject is 'Subject of a JSON Web Token';
comment on column mcp.audit_callers.client is 'What the client calls itself, and its version';
comment on column mcp.audit_callers.peer is 'The network address, or the operating system user at the other end of the Unix socket';

create function mcp._audit_check(what text, known text[], "from" timestamptz, "to" timestamptz) returns boolean
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    near text[];
begin
    if what is null or what <> all (known) then
        near := mcp._near(left(lower(what), 100), known);
        raise exception 'the audit trail has no "%"', coalesce(left(what, 100), 'null')
            using errcode = 'invalid_parameter_value',
                  hint = concat(case when cardinality(near) > 0 then format('Perhaps you meant "%s". ', near[1]) end,
                                format('One of: %s.', array_to_string(known, ', ')));
    elsif "from" > "to" then
        raise exception 'the time ends before it begins: from % to %', "from", "to"
            using errcode = 'invalid_parameter_value', hint = 'Give the earlier one as "from".';
    end if;
    return true;
end
$$;
comment on function mcp._audit_check(text, text[], timestamptz, timestamptz) is 'True, or an error that says which words there are, or that the time ends before it begins';
