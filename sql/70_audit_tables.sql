-- Owns: where the audit trail is kept: the records, who they are about, and the seals over them; and the role mcp_auditor, which may read them.
-- Runs: the keeper process writes, as the bootstrap superuser; auditors read through the view mcp.audit.
-- Must not: let anybody but a superuser change a row. The tables stay the property of the superuser who creates the extension: on
-- PostgreSQL 15 any role with CREATEROLE could make itself a member of an owner made for the purpose, login or not.
--
-- Nothing here is ever updated but the head. A call that may write has two rows: its intent, written before it begins, and its outcome. Every other call
-- has one. Ids have no gaps, and follow the order in which rows were committed: one keeper writes, and it holds the head meanwhile.

do $$
begin
    if not exists (select from pg_catalog.pg_roles r where r.rolname operator(pg_catalog.=) 'mcp_auditor') then
        create role mcp_auditor nologin;
        comment on role mcp_auditor is 'Members read the audit trail of the MCP server: mcp.audit, its views and reports';
    end if;
end
$$;

create table mcp._audit_callers (
    id uuid primary key,
    role text,
    principal text,
    label text,
    authentication text,
    issuer text,
    subject text,
    client text,
    peer text
);
comment on table mcp._audit_callers is 'Who made the calls of the audit trail. A row is named by its content, so a changed one no longer fits its name';
comment on column mcp._audit_callers.id is 'The first half of the SHA-256 of the other columns as COPY writes them';
comment on column mcp._audit_callers.role is 'The database role; null where the credential stood for nobody';
comment on column mcp._audit_callers.principal is 'token:<id>, peer:<uid>, password:<role>, jwt:<issuer>:<subject> or anonymous; null where the credential stood for nobody';
comment on column mcp._audit_callers.label is 'The token''s label, or the operating system user''s name';
comment on column mcp._audit_callers.authentication is 'token, peer, password, jwt or anonymous: what the caller showed';
comment on column mcp._audit_callers.issuer is 'Issuer of a JSON Web Token';
comment on column mcp._audit_callers.subject is 'Subject of a JSON Web Token';
comment on column mcp._audit_callers.client is 'What the client calls itself, and its version';
comment on column mcp._audit_callers.peer is 'The network address, or the operating system user at the other end of the Unix socket';

create table mcp._audit (
    id bigint not null,
    at timestamptz not null,
    kind "char" not null,
    caller uuid,
    intent bigint,
    method text,
    tool text,
    request text,
    trace text,
    arguments text,
    arguments_bytes bigint,
    arguments_digest bytea,
    queryid bigint,
    writes boolean,
    outcome text,
    sqlstate text,
    rule text,
    times bigint,
    rows bigint,
    bytes bigint,
    changed text,
    wal_bytes bigint,
    queue_us bigint,
    run_us bigint,
    answer_us bigint,
    xid xid8,
    committed boolean,
    objects text,
    ended timestamptz
) partition by range (at);
comment on table mcp._audit is 'The audit trail as it is written: read it through the view mcp.audit';
comment on column mcp._audit.id is 'Number of the row in this database: without gaps, in the order of commit';
comment on column mcp._audit.at is 'When the call came in; an outcome has its intent''s, so that both are of the same day';
comment on column mcp._audit.kind is 'c: a call that could only read; i: the intent of one that may write; o: its outcome; r: calls or logins that were refused; e: an event of the trail itself';
comment on column mcp._audit.caller is 'Who: a row of mcp._audit_callers; null for outcomes and events';
comment on column mcp._audit.intent is 'Of an outcome: id of its intent';
comment on column mcp._audit.method is 'The protocol''s name of the request: tools/call, prompts/get, resources/read, completion/complete, login; of an event: its name';
comment on column mcp._audit.tool is 'Name of the tool or the prompt, URI of the resource';
comment on column mcp._audit.request is 'The client''s id of the request, as JSON';
comment on column mcp._audit.trace is 'The traceparent that the client sent';
comment on column mcp._audit.arguments is 'The arguments as JSON text, up to supabase_mcp.audit_text_bytes; secrets are replaced by their hash. Null where nobody could say what is secret';
comment on column mcp._audit.arguments_bytes is 'Length of the arguments as they came';
comment on column mcp._audit.arguments_digest is 'SHA-256 of the arguments as they came, or their HMAC where something in them is hidden; null where they are kept whole and as they came';
comment on column mcp._audit.queryid is 'Postgres'' identifier of the last statement, where compute_query_id is on';
comment on column mcp._audit.writes is 'The call could write';
comment on column mcp._audit.outcome is 'ok, error, cancelled, timeout, disconnected, refused or terminated; null for intents';
comment on column mcp._audit.sqlstate is 'SQLSTATE of an error';
comment on column mcp._audit.rule is 'What refused or ended the call: a limit, a missing right, the kind of error';
comment on column mcp._audit.times is 'How many like refusals this row stands for; null: one';
comment on column mcp._audit.rows is 'Rows in the answer';
comment on column mcp._audit.bytes is 'Length of the answer''s result';
comment on column mcp._audit.changed is 'Rows inserted, updated and deleted by table, as JSON: {"shop.orders": {"inserted": 1}}';
comment on column mcp._audit.wal_bytes is 'Write-ahead log that the call''s process wrote, in bytes';
comment on column mcp._audit.queue_us is 'Microseconds from the request to the start of its work: login, waiting for a process, recording the intent';
comment on column mcp._audit.run_us is 'Microseconds of its work in the database';
comment on column mcp._audit.answer_us is 'Microseconds from the end of that work until the gateway had the answer';
comment on column mcp._audit.xid is 'Transaction of the intent; pg_xact_status says what became of it';
comment on column mcp._audit.committed is 'Of an outcome: what the call did was kept';
comment on column mcp._audit.ended is 'Of an outcome: when the call was over; of one that was settled: when it was settled';
comment on column mcp._audit.objects is 'Tables and views that the call touched and how, as JSON: {"shop.orders": ["select", "update"]}';

create table mcp._audit_head (
    only_row boolean primary key default true check (only_row),
    last_id bigint not null,
    settled_id bigint not null,
    batch text,
    batch_first bigint,
    batch_before text,
    batch_before_first bigint
);
comment on table mcp._audit_head is 'How far the trail has come; whoever writes to it holds this row';
comment on column mcp._audit_head.only_row is 'There is one row';
comment on column mcp._audit_head.last_id is 'Id of the last row';
comment on column mcp._audit_head.settled_id is 'No intent up to this id lacks its outcome';
comment on column mcp._audit_head.batch is 'The gateway''s name for the batch that was written last: it comes again when the answer was lost';
comment on column mcp._audit_head.batch_first is 'Id of the first row of that batch';
comment on column mcp._audit_head.batch_before is 'The gateway''s name for the batch before it: up to two are on their way at a time';
comment on column mcp._audit_head.batch_before_first is 'Id of the first row of that one';
insert into mcp._audit_head (last_id, settled_id) values (0, 0);

create table mcp._audit_seals (
    number bigint primary key,
    first_id bigint not null,
    last_id bigint not null,
    sealed_at timestamptz not null,
    marks bytea,
    body bytea not null,
    previous bytea not null,
    hash bytea not null
);
comment on table mcp._audit_seals is 'The seals: each covers the rows from first_id to last_id and the seal before it';
comment on column mcp._audit_seals.number is 'Number of the seal, from 1';
comment on column mcp._audit_seals.first_id is 'First row that it covers';
comment on column mcp._audit_seals.last_id is 'Last row that it covers';
comment on column mcp._audit_seals.sealed_at is 'When it was made';
comment on column mcp._audit_seals.marks is 'The first 8 bytes of each row''s SHA-256, to name the row that does not fit; null once rows were purged';
comment on column mcp._audit_seals.body is 'SHA-256 over the SHA-256 of each row, in the order of ids. A row''s is that of its line in COPY (select * ...) TO, time zone UTC, encoding UTF8, without the newline';
comment on column mcp._audit_seals.previous is 'The hash of the seal before; 32 zero bytes for the first';
comment on column mcp._audit_seals.hash is 'SHA-256 over previous, number, first_id, last_id, sealed_at (microseconds since 1970), each as 8 bytes, big end first, and body';

create view mcp.audit as
    select e.id,
           e.at as time,
           pg_catalog.current_database() as database,
           c.role, c.principal, c.label as token_label, c.authentication, c.issuer, c.subject, c.client, c.peer,
           e.request as request_id,
           e.trace,
           e.method,
           e.tool,
           e.arguments,
           e.arguments_bytes,
           coalesce(e.arguments_digest, pg_catalog.sha256(pg_catalog.convert_to(e.arguments, 'UTF8'))) as arguments_digest,
           coalesce(o.queryid, e.queryid) as queryid,
           case when e.writes then 'write' else 'read' end as mode,
           case when e.kind operator(pg_catalog.=) 'i' then coalesce(o.outcome, 'open') else e.outcome end as outcome,
           coalesce(o.sqlstate, e.sqlstate) as sqlstate,
           coalesce(o.rule, e.rule) as rule,
           coalesce(e.times, 1) as times,
           coalesce(o.rows, e.rows) as rows,
           coalesce(o.bytes, e.bytes) as bytes,
           coalesce(o.changed, e.changed)::pg_catalog.jsonb as changed,
           coalesce(o.wal_bytes, e.wal_bytes) as wal_bytes,
           coalesce(o.queue_us, e.queue_us) as queue_us,
           coalesce(o.run_us, e.run_us) as run_us,
           coalesce(o.answer_us, e.answer_us) as answer_us,
           e.xid,
           o.committed,
           coalesce(o.objects, e.objects)::pg_catalog.jsonb as objects,
           o.id as outcome_id,
           o.ended,
           mcp._audit_statement(e.tool, e.arguments) as statement,
           mcp._audit_normalised(mcp._audit_statement(e.tool, e.arguments)) as normalised
      from mcp._audit e
      left join mcp._audit_callers c on c.id operator(pg_catalog.=) e.caller
      left join mcp._audit o on o.intent operator(pg_catalog.=) e.id and o.at operator(pg_catalog.=) e.at and o.kind operator(pg_catalog.=) 'o'
                             and e.kind operator(pg_catalog.=) 'i'
     where e.kind operator(pg_catalog.<>) 'o';
comment on view mcp.audit is 'The audit trail: one row a call, refusal or event';
comment on column mcp.audit.id is 'Number of the row in this database; missing numbers are outcomes, which are part of the row of their intent';
comment on column mcp.audit.time is 'When the call came in';
comment on column mcp.audit.database is 'This database';
comment on column mcp.audit.role is 'The database role that the call ran as; null where the credential stood for nobody';
comment on column mcp.audit.principal is 'token:<id>, peer:<uid>, password:<role>, jwt:<issuer>:<subject> or anonymous';
comment on column mcp.audit.token_label is 'The token''s label, or the operating system user''s name';
comment on column mcp.audit.authentication is 'token, peer, password, jwt or anonymous: what the caller showed';
comment on column mcp.audit.issuer is 'Issuer of a JSON Web Token';
comment on column mcp.audit.subject is 'Subject of a JSON Web Token';
comment on column mcp.audit.client is 'What the client calls itself, and its version';
comment on column mcp.audit.peer is 'The network address, or the operating system user at the other end of the Unix socket';
comment on column mcp.audit.request_id is 'The client''s id of the request, as JSON';
comment on column mcp.audit.trace is 'The traceparent that the client sent';
comment on column mcp.audit.method is 'tools/call, prompts/get, resources/read, completion/complete or login; of an event of the trail itself: purge or gap';
comment on column mcp.audit.tool is 'Name of the tool or the prompt, URI of the resource';
comment on column mcp.audit.arguments is 'The arguments as JSON text, up to supabase_mcp.audit_text_bytes, with hashes in the place of secrets';
comment on column mcp.audit.arguments_bytes is 'Length of the arguments as they came';
comment on column mcp.audit.arguments_digest is 'SHA-256 of the arguments as they came; where something in them is hidden, their HMAC by a key that superusers can read';
comment on column mcp.audit.queryid is 'Postgres'' identifier of the last statement, where compute_query_id is on';
comment on column mcp.audit.mode is 'write: the call could write, and its intent was recorded before it began; or read';
comment on column mcp.audit.outcome is 'ok, error, cancelled, timeout, disconnected, refused, terminated, or open while it runs; null for events';
comment on column mcp.audit.sqlstate is 'SQLSTATE of an error';
comment on column mcp.audit.rule is 'What refused or ended the call: a limit, a missing right, the kind of error';
comment on column mcp.audit.times is 'How many like refusals this row stands for';
comment on column mcp.audit.rows is 'Rows in the answer';
comment on column mcp.audit.bytes is 'Length of the answer''s result';
comment on column mcp.audit.changed is 'Rows inserted, updated and deleted by table';
comment on column mcp.audit.wal_bytes is 'Write-ahead log that the call''s process wrote, in bytes';
comment on column mcp.audit.queue_us is 'Microseconds from the request to the start of its work: login, waiting for a process, recording the intent';
comment on column mcp.audit.run_us is 'Microseconds of its work in the database';
comment on column mcp.audit.answer_us is 'Microseconds from the end of that work until the gateway had the answer';
comment on column mcp.audit.xid is 'Transaction of a call that could write';
comment on column mcp.audit.committed is 'What the call did was kept';
comment on column mcp.audit.objects is 'Tables and views that the call touched, and how';
comment on column mcp.audit.outcome_id is 'Number of the row that holds the outcome of a call that could write';
comment on column mcp.audit.ended is 'When a call that could write was over';
comment on column mcp.audit.statement is 'The SQL text of a tool that runs, plans or looks at one';
comment on column mcp.audit.normalised is 'The same without its constants; null where it cannot be read, because it was cut, say';
comment on constraint _audit_callers_pkey on mcp._audit_callers is 'A caller has one row';
comment on constraint _audit_head_pkey on mcp._audit_head is 'There is one row';
comment on constraint _audit_head_only_row_check on mcp._audit_head is 'There is one row';
comment on constraint _audit_seals_pkey on mcp._audit_seals is 'Each seal has its number';
comment on constraint _audit_key_pkey on mcp._audit_key is 'There is one row';
comment on constraint _audit_key_only_row_check on mcp._audit_key is 'There is one row';
comment on constraint _audit_key_key_check on mcp._audit_key is 'As long as SHA-256';
