//! From text to results: parse, plan and run, statement by statement, the way the server does for any client.
//!
//! One portal per statement, for a caller's text never at top level: so VACUUM and its like, which would commit on their own, are refused by Postgres, and CALL
//! and DO are atomic. Statements that begin or end a transaction and COPY through a client connection are refused by the utility hook
//! (`hook`). Nothing here looks into a text to find out whether it is harmless.

use std::ffi::{CStr, c_char};
use std::marker::PhantomData;

use pgrx::pg_sys::{self, Oid};

use super::error::{PgError, attempt};
use super::memory::Context;
use super::receiver::{Receiver, Target};
use super::txn::{Mode, Tx};
use super::{Pg, encoding, ffi, report};

/// The memory that jobs are parsed, planned and rendered in.
pub struct Workspace {
    job: Context,
    statement: Context,
    row: Context,
}

impl Workspace {
    pub fn new(_: &Pg) -> Result<Workspace, PgError> {
        let workspace = Workspace {
            job: Context::create(c"supabase_mcp job")?,
            statement: Context::create(c"supabase_mcp statement")?,
            row: Context::create(c"supabase_mcp row")?,
        };
        // Postgres' main loop has a context of this name for what one message brings; extensions may rely on it.
        // SAFETY: the context lives as long as the process.
        unsafe { pg_sys::MessageContext = workspace.job.raw() };
        Ok(workspace)
    }

    /// Scratch memory for receivers.
    pub fn row(&self) -> Context {
        self.row
    }

    /// Gives everything back. Takes the workspace exclusively: no `Text` or `Statement` is left.
    pub fn clear(&mut self) {
        // SAFETY: parsed texts and statements borrow the workspace, and no portal is open outside a transaction.
        unsafe {
            self.statement.reset();
            self.row.reset();
            self.job.reset();
        }
    }

    /// Parses a caller's text. What it consists of is only known to Postgres' own grammar.
    pub fn parse<'w>(&'w self, tx: &Tx, sql: &str) -> Result<Vec<Statement<'w>>, PgError> {
        let _context = self.job.enter();
        let text = encoding::from_utf8(tx.pg(), sql)?;
        report::running(text);
        self.parse_text(text)
    }

    /// Parses a text of our own.
    pub fn parse_own<'w>(&'w self, _: &Tx, sql: &'static CStr) -> Result<Vec<Statement<'w>>, PgError> {
        let _context = self.job.enter();
        report::running(sql.as_ptr());
        self.parse_text(sql.as_ptr())
    }

    fn parse_text<'w>(&'w self, text: *const c_char) -> Result<Vec<Statement<'w>>, PgError> {
        // SAFETY: a C string that lives as long as the job; the list is in the job's context too.
        let list = unsafe { attempt(|| ffi::pg_parse_query(text)) }?;
        let mut statements = Vec::new();
        // SAFETY: a list of RawStmt nodes, or null for a text without statements.
        unsafe {
            if !list.is_null() {
                statements.reserve_exact((*list).length as usize);
                for i in 0..(*list).length as usize {
                    let raw = (*(*list).elements.add(i)).ptr_value.cast::<pg_sys::RawStmt>();
                    statements.push(Statement { raw, text, _workspace: PhantomData });
                }
            }
        }
        Ok(statements)
    }
}

/// One statement of a text, parsed and no more.
pub struct Statement<'w> {
    raw: *mut pg_sys::RawStmt,
    /// The whole text: positions in errors count from its start.
    text: *const c_char,
    _workspace: PhantomData<&'w Workspace>,
}

impl Statement<'_> {
    /// The command's name, as psql shows it: `SELECT`, `CREATE TABLE`.
    pub fn command(&self) -> &'static str {
        // SAFETY: a live node; tag names are static ASCII strings.
        unsafe { tag_name(ffi::CreateCommandTag((*self.raw).stmt)) }
    }

    /// Puts the statement inside `EXPLAIN`, as its parse tree: no text is joined to a text.
    pub fn explained_by(self, explain: &Statement) -> Result<Self, PgError> {
        // SAFETY: live nodes; the type tag says what they are.
        unsafe {
            let node = (*explain.raw).stmt;
            if (*node).type_ != pg_sys::NodeTag::T_ExplainStmt {
                return Err(PgError::internal("not an EXPLAIN"));
            }
            (*node.cast::<pg_sys::ExplainStmt>()).query = (*self.raw).stmt;
            (*self.raw).stmt = node;
        }
        Ok(self)
    }
}

/// What a type wants of a parameter's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParamShape {
    /// json or jsonb: any JSON is its own text.
    Json,
    /// An array: a JSON array becomes an array literal.
    Array,
    Scalar,
}

/// The values for `$1`, `$2` and so on.
pub trait Params {
    fn count(&self) -> usize;
    /// The text that the type's input function gets; `None` is null. `Err`: why the value cannot be given to such a type.
    fn text(&self, index: usize, shape: ParamShape) -> Result<Option<String>, String>;
}

/// No parameters.
impl Params for () {
    fn count(&self) -> usize {
        0
    }

    fn text(&self, _: usize, _: ParamShape) -> Result<Option<String>, String> {
        Ok(None)
    }
}

#[derive(Debug)]
pub enum RunError {
    Sql(PgError),
    /// The parameters do not fit the statement.
    Params(String),
}

impl From<PgError> for RunError {
    fn from(error: PgError) -> RunError {
        RunError::Sql(error)
    }
}

/// How a statement ended.
#[derive(Debug, Clone, Copy)]
pub struct Completion {
    /// Rows that it changed, fetched or copied; none for commands that count no rows.
    pub affected: Option<u64>,
    /// The highest `$n` that it uses.
    pub parameters: usize,
}

impl Workspace {
    /// Runs one statement to its end and hands its rows to `target`.
    pub fn run(&self, tx: &mut Tx, statement: &Statement, params: &dyn Params, target: Target) -> Result<Completion, RunError> {
        self.run_in_portal(tx, statement, params, target, false)
    }

    /// The same for a text that is not a caller's, with the commands that are allowed outside a transaction block only.
    pub fn run_at_top_level(&self, tx: &mut Tx, statement: &Statement, target: Target) -> Result<Completion, RunError> {
        self.run_in_portal(tx, statement, &(), target, true)
    }

    fn run_in_portal(
        &self,
        tx: &mut Tx,
        statement: &Statement,
        params: &dyn Params,
        target: Target,
        top: bool,
    ) -> Result<Completion, RunError> {
        let _context = self.statement.enter();
        let (raw, text) = (statement.raw, statement.text);
        // SAFETY: in a transaction; all nodes are live until the statement's context is reset below. Parsing may need a snapshot; the
        // one for running is the portal's own, taken after the locks.
        let needs_snapshot = unsafe {
            attempt(|| {
                // As for any client: pg_stat_activity names the query of each statement.
                ffi::pgstat_report_query_id(0, true);
                let needs = params.count() > 0 || ffi::analyze_requires_snapshot(raw);
                if needs {
                    ffi::PushActiveSnapshot(ffi::GetTransactionSnapshot());
                }
                needs
            })
        }?;
        let (queries, bound, parameters) = if params.count() == 0 {
            // SAFETY: as above.
            let queries =
                unsafe { attempt(|| ffi::pg_analyze_and_rewrite_fixedparams(raw, text, std::ptr::null(), 0, std::ptr::null_mut())) }?;
            (queries, std::ptr::null_mut(), 0)
        } else {
            analyze_with_params(tx, raw, text, params)?
        };
        let run_to_end = tx.mode() == Mode::ReadWrite && may_have_effects(queries)?;
        let mut receiver = Receiver::new(target);
        receiver.set_run_to_end(run_to_end);
        let dest = receiver.as_dest();
        let mut completion = pg_sys::QueryCompletion::default();
        // SAFETY: as above; the receiver outlives the portal.
        let ran = unsafe {
            attempt(|| {
                let plans = ffi::pg_plan_queries(queries, text, pg_sys::CURSOR_OPT_PARALLEL_OK as i32, bound);
                if needs_snapshot {
                    ffi::PopActiveSnapshot();
                }
                let portal = ffi::CreatePortal(c"".as_ptr(), true, true);
                (*portal).visible = false;
                ffi::PortalDefineQuery(portal, std::ptr::null(), text, ffi::CreateCommandTag((*raw).stmt), plans, std::ptr::null_mut());
                ffi::PortalStart(portal, bound, 0, std::ptr::null_mut());
                #[cfg(not(feature = "pg18"))]
                ffi::PortalRun(portal, ALL_ROWS, top, true, dest, pg_sys::None_Receiver, &mut completion);
                #[cfg(feature = "pg18")]
                ffi::PortalRun(portal, ALL_ROWS, top, dest, pg_sys::None_Receiver, &mut completion);
                // With RETURNING all rows are changed first and then handed out; what is counted is the handing out, which may be cut.
                if (*portal).strategy == pg_sys::PortalStrategy::PORTAL_ONE_RETURNING {
                    completion.nprocessed = (*portal).qc.nprocessed;
                }
                ffi::PortalDrop(portal, false);
                ffi::CommandCounterIncrement();
            })
        };
        receiver.settle()?;
        ran?;
        drop(_context);
        // SAFETY: the portal is gone; cursors and prepared statements keep copies of their own.
        unsafe { self.statement.reset() };
        // SAFETY: a look-up in a static table.
        let counts = unsafe { ffi::command_tag_display_rowcount(completion.commandTag) };
        Ok(Completion { affected: counts.then_some(completion.nprocessed), parameters })
    }
}

/// FETCH_ALL of `nodes/parsenodes.h`.
const ALL_ROWS: std::ffi::c_long = std::ffi::c_long::MAX;

/// Whether reading only a part of the answer would leave out effects: a volatile function somewhere in the statement.
fn may_have_effects(queries: *mut pg_sys::List) -> Result<bool, PgError> {
    // SAFETY: a list of Query nodes, never null after analysis; walking it may raise an error.
    unsafe {
        attempt(|| {
            (0..(*queries).length as usize).any(|i| {
                let query = (*(*queries).elements.add(i)).ptr_value.cast::<pg_sys::Query>();
                (*query).commandType == pg_sys::CmdType::CMD_SELECT && ffi::contain_volatile_functions(query.cast())
            })
        })
    }
}

type Analyzed = (*mut pg_sys::List, pg_sys::ParamListInfo, usize);

/// Lets Postgres infer the types of the parameters, and gives each value to its type's input function.
fn analyze_with_params(tx: &Tx, raw: *mut pg_sys::RawStmt, text: *const c_char, params: &dyn Params) -> Result<Analyzed, RunError> {
    let (mut types, mut count) = (std::ptr::null_mut::<Oid>(), 0);
    // SAFETY: in a transaction; types and count are written by the parser, in the statement's context.
    let query = unsafe { attempt(|| ffi::parse_analyze_varparams(raw, text, &mut types, &mut count, std::ptr::null_mut())) }?;
    let used = usize::try_from(count).unwrap_or(0);
    if used > params.count() {
        return Err(RunError::Params(format!("the query uses ${used}, but params has only {}", values(params.count()))));
    }
    // SAFETY: allocates room for `used` parameters.
    let list = unsafe { attempt(|| ffi::makeParamList(count)) }?;
    for index in 0..used {
        // SAFETY: `types` has `used` entries.
        let type_oid = unsafe { *types.add(index) };
        if type_oid == pg_sys::InvalidOid {
            // Not used by this statement of several.
            continue;
        }
        if type_oid == pg_sys::UNKNOWNOID {
            let message = format!("could not determine data type of parameter ${}", index + 1);
            return Err(RunError::Sql(PgError::new("42P18", message)));
        }
        bind(tx, list, index, type_oid, params)?;
    }
    // SAFETY: as above.
    let queries = unsafe { attempt(|| ffi::pg_rewrite_query(query)) }?;
    Ok((queries, list, used))
}

fn bind(tx: &Tx, list: pg_sys::ParamListInfo, index: usize, type_oid: Oid, params: &dyn Params) -> Result<(), RunError> {
    // SAFETY: look-ups in a transaction.
    let shape = unsafe {
        attempt(|| match ffi::getBaseType(type_oid) {
            pg_sys::JSONOID | pg_sys::JSONBOID => ParamShape::Json,
            base if ffi::get_element_type(base) != pg_sys::InvalidOid => ParamShape::Array,
            _ => ParamShape::Scalar,
        })
    }?;
    let wrong = |why: String| RunError::Params(format!("params: value for ${}: {why}", index + 1));
    let value = params.text(index, shape).map_err(wrong)?;
    let value =
        value.map(|v| if v.contains('\0') { Err(wrong("a text cannot hold the character NUL".into())) } else { Ok(v) }).transpose()?;
    let input = value.map(|v| encoding::from_utf8(tx.pg(), &v)).transpose()?.unwrap_or(std::ptr::null());
    // SAFETY: the list has room for `index`; the input function gets a C string of its own, or null.
    let bound = unsafe {
        attempt(|| {
            let (mut function, mut io_param) = (pg_sys::InvalidOid, pg_sys::InvalidOid);
            ffi::getTypeInputInfo(type_oid, &mut function, &mut io_param);
            let parameter = &mut *(*list).params.as_mut_ptr().add(index);
            parameter.value = ffi::OidInputFunctionCall(function, input.cast_mut(), io_param, -1);
            parameter.isnull = input.is_null();
            parameter.pflags = pg_sys::PARAM_FLAG_CONST as u16;
            parameter.ptype = type_oid;
        })
    };
    bound.map_err(|mut error| {
        error.0.position = None;
        error.0.context = Some(format!("value for ${}", index + 1));
        RunError::Sql(error)
    })
}

pub fn values(count: usize) -> String {
    if count == 1 { "1 value".to_string() } else { format!("{count} values") }
}

/// # Safety
/// `tag` is one of Postgres' command tags.
unsafe fn tag_name(tag: pg_sys::CommandTag::Type) -> &'static str {
    // SAFETY: names are static ASCII strings.
    unsafe { CStr::from_ptr(ffi::GetCommandTagName(tag)) }.to_str().unwrap_or("???")
}
