//! The C functions that this folder calls, declared without pgrx's guard.
//!
//! pgrx wraps every binding in a guard of its own that turns an error into a panic and drops half of it (`error` says what). Ours go
//! through `error::attempt` instead, many calls under one guard. Some are missing from pgrx's bindings altogether; each group names its
//! header. Declarations hold for PostgreSQL 15 to 18 unless they say otherwise. Every function here may raise a Postgres error.
#![allow(non_snake_case)]

use std::ffi::{c_char, c_int, c_long, c_void};

use pgrx::pg_sys::*;

/// `utils/timeout.h`: the enum counts on from STARTUP_PACKET_TIMEOUT = 0.
pub type TimeoutId = c_int;
pub const STATEMENT_TIMEOUT: TimeoutId = 3;
/// The first identifier that RegisterTimeout may give away; 17 added TRANSACTION_TIMEOUT before it.
#[cfg(any(feature = "pg15", feature = "pg16"))]
pub const USER_TIMEOUT: TimeoutId = 12;
#[cfg(any(feature = "pg17", feature = "pg18"))]
pub const USER_TIMEOUT: TimeoutId = 13;

/// `utils/timeout.h`
#[repr(C)]
pub struct EnableTimeoutParams {
    id: TimeoutId,
    /// TMPARAM_AFTER = 0, TMPARAM_EVERY = 2
    kind: c_int,
    delay_ms: c_int,
    fin_time: i64,
}

impl EnableTimeoutParams {
    pub fn after(id: TimeoutId, delay_ms: c_int) -> EnableTimeoutParams {
        EnableTimeoutParams { id, kind: 0, delay_ms, fin_time: 0 }
    }

    pub fn every(id: TimeoutId, delay_ms: c_int) -> EnableTimeoutParams {
        EnableTimeoutParams { id, kind: 2, delay_ms, fin_time: 0 }
    }
}

/// `utils/timeout.h`
#[repr(C)]
pub struct DisableTimeoutParams {
    pub id: TimeoutId,
    pub keep_indicator: bool,
}

/// `utils/bytea.h`: BYTEA_OUTPUT_HEX
pub const BYTEA_OUTPUT_HEX: c_int = 1;

/// The beginning of `struct Port` (`libpq/libpq-be.h`), up to the fields that the log's line prefix reads.
#[repr(C)]
pub struct PortHead {
    _sock: c_int,
    _noblock: bool,
    _proto: u32,
    pub laddr: SockAddr,
    pub raddr: SockAddr,
    _remote: [*mut c_char; 2],
    _remote_hostname: [c_int; 2],
    _remote_port: *mut c_char,
    #[cfg(any(feature = "pg15", feature = "pg16"))]
    _can_accept: c_int,
    #[cfg(feature = "pg18")]
    _local_host: [c_char; 64],
    pub database_name: *mut c_char,
    pub user_name: *mut c_char,
}

/// `libpq/pqcomm.h`
#[repr(C)]
pub struct SockAddr {
    pub addr: libc::sockaddr_storage,
    _salen: libc::socklen_t,
}

/// More than `sizeof(Port)` in any version and build: 472 bytes in 15, 616 in 18.
pub const PORT_ROOM: usize = 4096;

unsafe extern "C-unwind" {
    // utils/bytea.h
    pub static mut bytea_output: c_int;

    // utils/timeout.h
    pub fn RegisterTimeout(id: TimeoutId, handler: unsafe extern "C-unwind" fn()) -> TimeoutId;
    pub fn enable_timeouts(timeouts: *const EnableTimeoutParams, count: c_int);
    pub fn disable_timeouts(timeouts: *const DisableTimeoutParams, count: c_int);
    pub fn get_timeout_active(id: TimeoutId) -> bool;

    // tcop/tcopprot.h, postmaster/interrupt.h, libpq/pqsignal.h; as signal handlers these need the bare C symbol
    pub fn die(signal: c_int);
    pub fn SignalHandlerForConfigReload(signal: c_int);
    pub fn SignalHandlerForShutdownRequest(signal: c_int);
    #[cfg_attr(feature = "pg18", link_name = "pqsignal_be")]
    pub fn pqsignal(signal: c_int, handler: unsafe extern "C-unwind" fn(c_int)) -> *mut c_void;
    pub fn ProcessInterrupts();

    // storage/latch.h (storage/waiteventset.h in 18)
    pub fn SetLatch(latch: *mut Latch);
    pub fn ResetLatch(latch: *mut Latch);
    #[cfg(any(feature = "pg15", feature = "pg16"))]
    pub fn CreateWaitEventSet(context: MemoryContext, events: c_int) -> *mut WaitEventSet;
    #[cfg(any(feature = "pg17", feature = "pg18"))]
    pub fn CreateWaitEventSet(owner: ResourceOwner, events: c_int) -> *mut WaitEventSet;
    pub fn AddWaitEventToSet(set: *mut WaitEventSet, events: u32, fd: c_int, latch: *mut Latch, data: *mut c_void) -> c_int;
    pub fn ModifyWaitEvent(set: *mut WaitEventSet, position: c_int, events: u32, latch: *mut Latch);
    pub fn WaitEventSetWait(set: *mut WaitEventSet, timeout: c_long, events: *mut WaitEvent, count: c_int, info: u32) -> c_int;

    // access/xact.h, utils/snapmgr.h, utils/portal.h, jit/jit.h, replication/slot.h
    pub fn SetCurrentStatementStartTimestamp();
    pub fn RecoveryInProgress() -> bool;
    pub fn GetTopFullTransactionId() -> FullTransactionId;
    pub fn StartTransactionCommand();
    pub fn CommitTransactionCommand();
    pub fn AbortCurrentTransaction();
    pub fn CommandCounterIncrement();
    pub fn GetTransactionSnapshot() -> Snapshot;
    pub fn PushActiveSnapshot(snapshot: Snapshot);
    pub fn PopActiveSnapshot();
    pub fn ActiveSnapshotSet() -> bool;
    pub fn PortalErrorCleanup();
    pub fn jit_reset_after_error();
    pub fn ReplicationSlotRelease();

    // miscadmin.h, postmaster/bgworker.h, storage/ipc.h
    pub fn BackgroundWorkerInitializeConnection(database: *const c_char, user: *const c_char, flags: u32);
    pub fn BackgroundWorkerInitializeConnectionByOid(database: Oid, user: Oid, flags: u32);
    pub fn process_session_preload_libraries();
    pub fn SetSessionAuthorization(role: Oid, is_superuser: bool);
    pub fn SetUserIdAndSecContext(role: Oid, context: c_int);
    pub fn superuser_arg(role: Oid) -> bool;
    pub fn GetUserNameFromId(role: Oid, missing_ok: bool) -> *mut c_char;
    pub fn get_database_name(database: Oid) -> *mut c_char;
    pub fn on_proc_exit(callback: unsafe extern "C-unwind" fn(c_int, Datum), argument: Datum);
    pub fn proc_exit(code: c_int) -> !;

    // utils/guc.h, utils/guc_tables.h
    #[cfg(feature = "pg15")]
    pub fn get_guc_variables() -> *mut *mut config_generic;
    #[cfg(feature = "pg15")]
    pub fn GetNumConfigOptions() -> c_int;
    #[cfg(not(feature = "pg15"))]
    pub fn find_option(name: *const c_char, create_placeholders: bool, skip_errors: bool, level: c_int) -> *mut config_generic;
    pub fn SetConfigOption(name: *const c_char, value: *const c_char, context: GucContext::Type, source: GucSource::Type);
    pub fn set_config_option(
        name: *const c_char,
        value: *const c_char,
        context: GucContext::Type,
        source: GucSource::Type,
        action: GucAction::Type,
        change: bool,
        level: c_int,
        is_reload: bool,
    ) -> c_int;
    pub fn DefineCustomStringVariable(
        name: *const c_char,
        short: *const c_char,
        long: *const c_char,
        value: *mut *mut c_char,
        boot_value: *const c_char,
        context: GucContext::Type,
        flags: c_int,
        check: GucStringCheckHook,
        assign: GucStringAssignHook,
        show: GucShowHook,
    );
    pub fn ParseLongOption(text: *const c_char, name: *mut *mut c_char, value: *mut *mut c_char);
    pub fn ProcessConfigFile(context: GucContext::Type);

    // utils/inval.h
    pub fn CacheRegisterSyscacheCallback(cache: c_int, callback: SyscacheCallbackFunction, argument: Datum);
    pub fn CacheRegisterRelcacheCallback(callback: RelcacheCallbackFunction, argument: Datum);

    // utils/palloc.h, utils/memutils.h
    pub fn AllocSetContextCreateInternal(parent: MemoryContext, name: *const c_char, min: usize, init: usize, max: usize) -> MemoryContext;
    pub fn MemoryContextReset(context: MemoryContext);
    pub fn MemoryContextDelete(context: MemoryContext);
    pub fn MemoryContextAllocHuge(context: MemoryContext, size: usize) -> *mut c_void;
    pub fn MemoryContextAllocZero(context: MemoryContext, size: usize) -> *mut c_void;
    pub fn MemoryContextStrdup(context: MemoryContext, text: *const c_char) -> *mut c_char;
    pub fn pnstrdup(text: *const c_char, length: usize) -> *mut c_char;

    // fmgr.h, catalog/namespace.h, utils/builtins.h, utils/lsyscache.h, utils/array.h, utils/jsonb.h, access/detoast.h
    pub fn FindDefaultConversionProc(from: c_int, to: c_int) -> Oid;
    pub fn fmgr_info_cxt(function: Oid, info: *mut FmgrInfo, context: MemoryContext);
    pub fn FunctionCall6Coll(info: *mut FmgrInfo, collation: Oid, a: Datum, b: Datum, c: Datum, d: Datum, e: Datum, f: Datum) -> Datum;
    pub fn OutputFunctionCall(info: *mut FmgrInfo, value: Datum) -> *mut c_char;
    pub fn OidInputFunctionCall(function: Oid, text: *mut c_char, io_param: Oid, modifier: i32) -> Datum;
    pub fn getTypeInputInfo(type_oid: Oid, function: *mut Oid, io_param: *mut Oid);
    pub fn getTypeOutputInfo(type_oid: Oid, function: *mut Oid, is_varlena: *mut bool);
    pub fn get_typlenbyvalalign(type_oid: Oid, length: *mut i16, by_value: *mut bool, alignment: *mut c_char);
    pub fn getBaseType(type_oid: Oid) -> Oid;
    pub fn get_element_type(type_oid: Oid) -> Oid;
    pub fn quote_qualified_identifier(schema: *const c_char, name: *const c_char) -> *const c_char;
    pub fn get_rel_name(relation: Oid) -> *mut c_char;
    pub fn get_rel_namespace(relation: Oid) -> Oid;
    pub fn get_rel_relkind(relation: Oid) -> c_char;
    pub fn get_namespace_name(namespace: Oid) -> *mut c_char;
    pub fn OidFunctionCall1Coll(function: Oid, collation: Oid, a: Datum) -> Datum;
    pub fn format_type_extended(type_oid: Oid, modifier: i32, flags: u16) -> *mut c_char;
    pub fn deconstruct_array(
        array: *mut ArrayType,
        element: Oid,
        length: c_int,
        by_value: bool,
        alignment: c_char,
        values: *mut *mut Datum,
        nulls: *mut *mut bool,
        count: *mut c_int,
    );
    pub fn JsonbToCString(buffer: StringInfo, jsonb: *mut JsonbContainer, estimate: c_int) -> *mut c_char;
    pub fn pg_detoast_datum(value: *mut varlena) -> *mut varlena;
    pub fn pg_detoast_datum_packed(value: *mut varlena) -> *mut varlena;
    pub fn toast_raw_datum_size(value: Datum) -> usize;
    pub fn slot_getsomeattrs_int(slot: *mut TupleTableSlot, attributes: c_int);

    pub fn cstring_to_text(text: *const c_char) -> *mut text;
    pub fn text_to_cstring(value: *const text) -> *mut c_char;
    pub fn buildoidvector(oids: *const Oid, count: c_int) -> *mut oidvector;

    // utils/syscache.h; a C macro GetSysCacheOid4 in front of it
    pub fn GetSysCacheOid(cache: c_int, oid_column: AttrNumber, a: Datum, b: Datum, c: Datum, d: Datum) -> Oid;

    // access/genam.h, access/table.h, access/skey.h
    pub fn table_open(relation: Oid, lock: LOCKMODE) -> Relation;
    pub fn table_close(relation: Relation, lock: LOCKMODE);
    pub fn systable_beginscan(
        relation: Relation,
        index: Oid,
        use_index: bool,
        snapshot: Snapshot,
        keys: c_int,
        key: ScanKey,
    ) -> SysScanDesc;
    pub fn systable_getnext(scan: SysScanDesc) -> HeapTuple;
    pub fn systable_endscan(scan: SysScanDesc);
    pub fn ScanKeyInit(key: ScanKey, attribute: AttrNumber, strategy: StrategyNumber, function: RegProcedure, argument: Datum);

    // catalog/pg_inherits.h
    pub fn find_all_inheritors(relation: Oid, lock: LOCKMODE, counts: *mut *mut List) -> *mut List;

    // catalog/namespace.h, commands/extension.h, utils/acl.h
    pub fn get_namespace_oid(name: *const c_char, missing_ok: bool) -> Oid;
    pub fn get_relname_relid(name: *const c_char, namespace: Oid) -> Oid;
    pub fn get_extension_oid(name: *const c_char, missing_ok: bool) -> Oid;
    pub fn get_rolespec_oid(role: *const RoleSpec, missing_ok: bool) -> Oid;
    #[cfg(feature = "pg15")]
    pub fn pg_proc_aclcheck(function: Oid, role: Oid, mode: AclMode) -> AclResult::Type;
    #[cfg(feature = "pg15")]
    pub fn pg_namespace_aclcheck(namespace: Oid, role: Oid, mode: AclMode) -> AclResult::Type;
    #[cfg(not(feature = "pg15"))]
    pub fn object_aclcheck(class: Oid, object: Oid, role: Oid, mode: AclMode) -> AclResult::Type;

    // parser/scanner.h
    pub fn scanner_init(text: *const c_char, extra: *mut core_yy_extra_type, a: *const ScanKeywordList, b: *const u16) -> core_yyscan_t;
    pub fn core_yylex(value: *mut core_YYSTYPE, location: *mut c_int, scanner: core_yyscan_t) -> c_int;

    // tcop/tcopprot.h, parser/analyze.h, tcop/utility.h, tcop/cmdtag.h, nodes/params.h, optimizer/clauses.h
    pub fn pg_parse_query(text: *const c_char) -> *mut List;
    pub fn analyze_requires_snapshot(statement: *mut RawStmt) -> bool;
    pub fn pg_analyze_and_rewrite_fixedparams(
        statement: *mut RawStmt,
        text: *const c_char,
        types: *const Oid,
        count: c_int,
        environment: *mut QueryEnvironment,
    ) -> *mut List;
    pub fn parse_analyze_varparams(
        statement: *mut RawStmt,
        text: *const c_char,
        types: *mut *mut Oid,
        count: *mut c_int,
        environment: *mut QueryEnvironment,
    ) -> *mut Query;
    pub fn pg_rewrite_query(query: *mut Query) -> *mut List;
    pub fn pg_plan_queries(queries: *mut List, text: *const c_char, options: c_int, parameters: ParamListInfo) -> *mut List;
    pub fn contain_volatile_functions(clause: *mut Node) -> bool;
    pub fn makeParamList(count: c_int) -> ParamListInfo;
    pub fn CreateCommandTag(statement: *mut Node) -> CommandTag::Type;
    pub fn GetCommandTagName(tag: CommandTag::Type) -> *const c_char;
    pub fn command_tag_display_rowcount(tag: CommandTag::Type) -> bool;
    pub fn standard_ProcessUtility(
        statement: *mut PlannedStmt,
        text: *const c_char,
        read_only_tree: bool,
        context: ProcessUtilityContext::Type,
        parameters: ParamListInfo,
        environment: *mut QueryEnvironment,
        dest: *mut DestReceiver,
        completion: *mut QueryCompletion,
    );
    pub fn DiscardCommand(statement: *mut DiscardStmt, is_top_level: bool);

    // What DISCARD ALL does, one by one: utils/portal.h, utils/guc.h, commands/prepare.h, commands/async.h, storage/lock.h,
    // catalog/namespace.h, commands/sequence.h
    pub fn PortalHashTableDeleteAll();
    pub fn SetPGVariable(name: *const c_char, arguments: *mut List, is_local: bool);
    pub fn ResetAllOptions();
    pub fn DropAllPreparedStatements();
    pub fn Async_UnlistenAll();
    pub fn LockReleaseAll(method: u16, all_locks: bool);
    pub fn ResetTempTableNamespace();
    pub fn ResetSequenceCaches();

    // utils/portal.h, tcop/pquery.h
    pub fn CreatePortal(name: *const c_char, allow_duplicate: bool, silent: bool) -> Portal;
    pub fn PortalDefineQuery(
        portal: Portal,
        prepared: *const c_char,
        text: *const c_char,
        tag: CommandTag::Type,
        statements: *mut List,
        plan: *mut CachedPlan,
    );
    pub fn PortalStart(portal: Portal, parameters: ParamListInfo, flags: c_int, snapshot: Snapshot);
    #[cfg(not(feature = "pg18"))]
    pub fn PortalRun(
        portal: Portal,
        count: c_long,
        is_top_level: bool,
        run_once: bool,
        dest: *mut DestReceiver,
        other_dest: *mut DestReceiver,
        completion: *mut QueryCompletion,
    ) -> bool;
    #[cfg(feature = "pg18")]
    pub fn PortalRun(
        portal: Portal,
        count: c_long,
        is_top_level: bool,
        dest: *mut DestReceiver,
        other_dest: *mut DestReceiver,
        completion: *mut QueryCompletion,
    ) -> bool;
    pub fn PortalDrop(portal: Portal, is_top_commit: bool);

    // pgstat.h, utils/backend_status.h
    /// The identifier is unsigned before 18; nobody here looks at it.
    pub fn pgstat_report_query_id(id: i64, force: bool);
    pub fn pgstat_report_activity(state: BackendState::Type, text: *const c_char);
    pub fn pgstat_report_stat(force: bool) -> c_long;
    /// Unsigned before 18; only ever shown.
    pub fn pgstat_get_my_query_id() -> i64;

    // utils/elog.h; pgrx keeps these to itself
    fn errstart(level: c_int, domain: *const c_char) -> bool;
    fn errcode(code: c_int) -> c_int;
    fn errmsg(format: *const c_char, ...) -> c_int;
    fn errhint(format: *const c_char, ...) -> c_int;
    fn errfinish(file: *const c_char, line: c_int, function: *const c_char);
}

/// Raises a Postgres error, for code that Postgres called and that cannot return one.
///
/// # Safety
/// Jumps over every Rust frame up to the nearest `attempt`: none of them may hold a value with a destructor. Texts are NUL-terminated.
pub unsafe fn raise(sqlstate: &[u8; 5], message: *const c_char, hint: *const c_char) -> ! {
    // SAFETY: the sequence of ereport(ERROR, ...); errfinish does not return at this level.
    unsafe {
        if errstart(pgrx::PgLogLevel::ERROR as c_int, std::ptr::null()) {
            errcode(super::error::pack_sqlstate(sqlstate));
            errmsg(c"%s".as_ptr(), message);
            errhint(c"%s".as_ptr(), hint);
            errfinish(c"supabase_mcp".as_ptr(), 0, std::ptr::null());
        }
        std::hint::unreachable_unchecked()
    }
}

/// TupleDescAttr, a macro in 15 to 17 and an inline function in 18.
///
/// # Safety
/// `index` is below `natts`.
pub unsafe fn tuple_desc_attr(desc: TupleDesc, index: usize) -> *const FormData_pg_attribute {
    // SAFETY: the attributes follow the fixed part; in 18 the compact ones come first.
    unsafe {
        #[cfg(not(feature = "pg18"))]
        return (*desc).attrs.as_ptr().add(index);
        #[cfg(feature = "pg18")]
        return (*desc).compact_attrs.as_ptr().add((*desc).natts as usize).cast::<FormData_pg_attribute>().add(index);
    }
}
