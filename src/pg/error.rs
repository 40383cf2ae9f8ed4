//! A Postgres error as plain data, and the one place where Postgres errors are caught.
//!
//! pgrx's own guard keeps neither position nor constraint, and turns every error into a panic; this one keeps the whole report and
//! returns it. Catching an error does not repair the transaction: whoever gets an `Err` aborts (see `txn`).

use std::ffi::CStr;
use std::fmt;
use std::mem::MaybeUninit;

use pgrx::pg_sys;

use super::encoding;

/// Longest text that is kept of any one part of an error. A caller can raise a message of hundreds of megabytes.
const PART_LIMIT: usize = 8 * 1024;

/// What Postgres said, in UTF-8.
#[derive(Debug)]
pub struct Report {
    /// Five characters.
    pub sqlstate: String,
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
    /// Where it happened: functions, one per line, innermost first.
    pub context: Option<String>,
    /// Character in the statement's text, from 1.
    pub position: Option<i32>,
    pub constraint: Option<String>,
    pub schema: Option<String>,
    pub table: Option<String>,
    pub column: Option<String>,
}

/// Boxed, because an error is the rare half of every result on the hot path.
#[derive(Debug)]
pub struct PgError(pub Box<Report>);

impl PgError {
    /// An error of our own, in the same shape.
    pub fn new(sqlstate: &str, message: impl Into<String>) -> PgError {
        PgError(Box::new(Report {
            sqlstate: sqlstate.to_string(),
            message: message.into(),
            detail: None,
            hint: None,
            context: None,
            position: None,
            constraint: None,
            schema: None,
            table: None,
            column: None,
        }))
    }

    pub fn internal(message: impl Into<String>) -> PgError {
        PgError::new("XX000", message)
    }
}

impl fmt::Display for PgError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (SQLSTATE {})", self.0.message, self.0.sqlstate)
    }
}

impl std::error::Error for PgError {}

/// Runs `call` and returns what it returns, or the Postgres error that it raised.
///
/// # Safety
/// On the main thread only. An error leaves `call` by a jump: at that moment no value with a destructor may live in `call` or in any Rust
/// frame below it, and `call` must not panic. Keep it to calls into Postgres on borrowed data.
pub(super) unsafe fn attempt<T>(call: impl FnOnce() -> T) -> Result<T, PgError> {
    // SAFETY: the statics are Postgres' own bookkeeping of where errors go, touched on its only thread and put back on both ways out.
    unsafe {
        let context = pg_sys::CurrentMemoryContext;
        let exception_stack = pg_sys::PG_exception_stack;
        let callbacks = pg_sys::error_context_stack;
        let mut result = MaybeUninit::<T>::uninit();
        let jumped = cee_scape::call_with_sigsetjmp(false, |buffer| {
            pg_sys::PG_exception_stack = buffer as *const _ as *mut _;
            result.write(call());
            0
        });
        // Errors from here on, and those of the report's own copying, belong to the caller's handler.
        pg_sys::PG_exception_stack = exception_stack;
        pg_sys::error_context_stack = callbacks;
        if jumped == 0 {
            return Ok(result.assume_init());
        }
        pg_sys::CurrentMemoryContext = context;
        Err(take_report())
    }
}

/// Moves the pending error out of Postgres' error stack.
///
/// # Safety
/// Directly after a jump to `attempt`, with an error pending.
unsafe fn take_report() -> PgError {
    // SAFETY: the copy lives in the current memory context until it is freed below; its fields are null or C strings.
    unsafe {
        let data = pg_sys::CopyErrorData();
        pg_sys::FlushErrorState();
        let report = Report {
            sqlstate: sqlstate((*data).sqlerrcode),
            message: text((*data).message).unwrap_or_default(),
            detail: text((*data).detail),
            hint: text((*data).hint),
            context: text((*data).context),
            position: ((*data).cursorpos > 0).then_some((*data).cursorpos),
            constraint: text((*data).constraint_name),
            schema: text((*data).schema_name),
            table: text((*data).table_name),
            column: text((*data).column_name),
        };
        pg_sys::FreeErrorData(data);
        PgError(Box::new(report))
    }
}

/// # Safety
/// `pointer` is null or a C string in the server's encoding.
unsafe fn text(pointer: *const std::ffi::c_char) -> Option<String> {
    if pointer.is_null() {
        return None;
    }
    // SAFETY: not null, so a C string by the caller's promise.
    let bytes = unsafe { CStr::from_ptr(pointer) }.to_bytes();
    let cut = bytes.get(..PART_LIMIT).unwrap_or(bytes);
    let mut text = encoding::to_utf8_lossy(cut);
    if cut.len() < bytes.len() {
        // The cut may have gone through a character.
        while text.ends_with(char::REPLACEMENT_CHARACTER) {
            text.pop();
        }
        text.push_str(" ... (cut)");
    }
    Some(text)
}

/// The five characters that Postgres packs into an integer, six bits each.
fn sqlstate(code: i32) -> String {
    (0..5).map(|i| (((code >> (6 * i)) & 0x3f) as u8 + b'0') as char).collect()
}

/// The integer form of a five-character code, for raising one.
pub(super) const fn pack_sqlstate(code: &[u8; 5]) -> i32 {
    let mut packed = 0;
    let mut i = 0;
    while i < 5 {
        packed |= ((code[i] - b'0') as i32 & 0x3f) << (6 * i);
        i += 1;
    }
    packed
}
