//! Where rows go: a receiver that writes them as JSON, counts rows and bytes, and tells the executor to stop.
//!
//! Postgres calls into this file in the middle of a running statement. Its functions hold nothing that would need a destructor when a
//! Postgres error jumps over them, and catch their own panics. The limits hold for the bytes that a caller gets; a statement that may have
//! effects runs to its end, and only its answer is cut.

use std::ffi::CStr;
use std::panic::{AssertUnwindSafe, catch_unwind};

use mcp::json;
use pgrx::pg_sys;

use super::error::PgError;
use super::memory::Context;
use super::render::{self, Shape};
use super::{encoding, ffi};

/// Which limit cut an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    Rows,
    Bytes,
}

struct Column {
    shape: Shape,
}

/// The rows of one statement as they are written: `"columns":[...],"rows":[[...]` at the end of `out`.
pub struct Rows<'a> {
    out: &'a mut Vec<u8>,
    /// Cleared after each row.
    scratch: Context,
    columns: Vec<Column>,
    started: bool,
    max_rows: u64,
    /// Longest that `out` may get.
    max_length: usize,
    pub count: u64,
    pub cut: Option<Cut>,
    /// Reading on has effects, or might: let it run to its end.
    run_to_end: bool,
}

impl<'a> Rows<'a> {
    pub fn new(out: &'a mut Vec<u8>, scratch: Context, max_rows: u64, max_length: usize) -> Rows<'a> {
        Rows { out, scratch, columns: Vec::new(), started: false, max_rows, max_length, count: 0, cut: None, run_to_end: false }
    }

    /// Whether the statement returned rows at all, if only none.
    pub fn started(&self) -> bool {
        self.started
    }

    /// # Safety
    /// Called by the executor, with the shape of the rows to come; may raise a Postgres error.
    unsafe fn start(&mut self, desc: pg_sys::TupleDesc) {
        self.out.extend_from_slice(b",\"columns\":[");
        // SAFETY: the descriptor is live while the statement runs; nothing here owns memory across a call.
        unsafe {
            let count = (*desc).natts as usize;
            self.columns.clear();
            self.columns.reserve_exact(count);
            for i in 0..count {
                let attribute = ffi::tuple_desc_attr(desc, i);
                self.columns.push(Column { shape: render::shape_of((*attribute).atttypid) });
                // A header of 1,600 columns for each of many statements is an answer too.
                if self.out.len() > self.max_length {
                    self.cut = Some(Cut::Bytes);
                    continue;
                }
                self.out.extend_from_slice(if i > 0 { b",{\"name\":" } else { b"{\"name\":" });
                let name = CStr::from_ptr((*attribute).attname.data.as_ptr()).to_bytes();
                json::push_lossy(self.out, encoding::to_utf8(name).unwrap_or(name));
                self.out.extend_from_slice(b",\"type\":");
                push_type(self.out, (*attribute).atttypid, (*attribute).atttypmod);
                self.out.push(b'}');
            }
        }
        self.out.extend_from_slice(b"],\"rows\":[");
        self.started = true;
    }

    /// Takes one row; `false` to stop.
    ///
    /// # Safety
    /// As `start`; the slot has the shape that was announced.
    unsafe fn row(&mut self, slot: *mut pg_sys::TupleTableSlot) -> bool {
        if self.cut.is_some() {
            return self.run_to_end;
        }
        if self.count >= self.max_rows {
            self.cut = Some(Cut::Rows);
            return self.run_to_end;
        }
        let row_start = self.out.len();
        // SAFETY: the slot's arrays have an entry per column once the attributes are there.
        let fits = unsafe {
            if ((*slot).tts_nvalid as usize) < self.columns.len() {
                ffi::slot_getsomeattrs_int(slot, self.columns.len() as i32);
            }
            if self.count > 0 {
                self.out.push(b',');
            }
            self.out.push(b'[');
            let mut fits = true;
            for (i, column) in self.columns.iter_mut().enumerate() {
                if i > 0 {
                    self.out.push(b',');
                }
                if *(*slot).tts_isnull.add(i) {
                    self.out.extend_from_slice(b"null");
                    continue;
                }
                let value = *(*slot).tts_values.add(i);
                fits = column.shape.known_size(value) <= self.max_length
                    && column.shape.push(self.out, self.max_length, value)
                    && self.out.len() <= self.max_length;
                if !fits {
                    break;
                }
            }
            self.out.push(b']');
            fits
        };
        // SAFETY: nothing of the row's conversions is used after.
        unsafe { self.scratch.reset() };
        if fits && self.out.len() <= self.max_length {
            self.count += 1;
            return true;
        }
        self.out.truncate(row_start);
        self.cut = Some(Cut::Bytes);
        self.run_to_end
    }
}

/// Appends a type's name as a JSON string, with its length or precision.
///
/// # Safety
/// May raise a Postgres error.
unsafe fn push_type(out: &mut Vec<u8>, type_oid: pg_sys::Oid, modifier: i32) {
    let usual = match type_oid {
        pg_sys::INT4OID => "\"integer\"",
        pg_sys::INT8OID => "\"bigint\"",
        pg_sys::TEXTOID => "\"text\"",
        pg_sys::BOOLOID => "\"boolean\"",
        _ => {
            // SAFETY: a look-up; the name is copied at once.
            unsafe {
                let name = ffi::format_type_extended(type_oid, modifier, pg_sys::FORMAT_TYPE_TYPEMOD_GIVEN as u16);
                let name = CStr::from_ptr(name).to_bytes();
                json::push_lossy(out, encoding::to_utf8(name).unwrap_or(name));
            }
            return;
        }
    };
    out.extend_from_slice(usual.as_bytes());
}

/// One value of one row, for statements of our own: the first column of the first row, which is JSON or null.
pub struct Value<'a> {
    pub out: &'a mut Vec<u8>,
    scratch: Context,
    max_length: usize,
    shape: Option<Shape>,
    pub found: bool,
    pub too_long: bool,
}

impl<'a> Value<'a> {
    pub fn new(out: &'a mut Vec<u8>, scratch: Context, max_length: usize) -> Value<'a> {
        Value { out, scratch, max_length, shape: None, found: false, too_long: false }
    }

    /// # Safety
    /// As `Rows::start`.
    unsafe fn start(&mut self, desc: pg_sys::TupleDesc) {
        // SAFETY: the descriptor is live while the statement runs.
        unsafe {
            if (*desc).natts > 0 {
                self.shape = Some(render::shape_of((*ffi::tuple_desc_attr(desc, 0)).atttypid));
            }
        }
    }

    /// # Safety
    /// As `Rows::row`.
    unsafe fn row(&mut self, slot: *mut pg_sys::TupleTableSlot) -> bool {
        let Some(shape) = self.shape.as_mut().filter(|_| !self.found) else { return false };
        // SAFETY: the slot has at least one column, as `start` saw.
        unsafe {
            if (*slot).tts_nvalid < 1 {
                ffi::slot_getsomeattrs_int(slot, 1);
            }
            if !*(*slot).tts_isnull {
                self.too_long = !shape.push(self.out, self.max_length, *(*slot).tts_values) || self.out.len() > self.max_length;
                self.found = true;
            }
            self.scratch.reset();
        }
        false
    }
}

/// What a statement's rows are handed to.
pub enum Target<'a, 'b> {
    Rows(&'a mut Rows<'b>),
    Value(&'a mut Value<'b>),
}

/// Settings that change how values look, held at the contract's values while a row is written. The caller's own values count in the
/// caller's own SQL (`to_char`, casts to text), so they are put back after every row.
#[derive(Clone, Copy)]
struct Style {
    date: i32,
    interval: i32,
    float_digits: i32,
    bytea: i32,
}

impl Style {
    const PINNED: Style = Style {
        date: pg_sys::USE_ISO_DATES as i32,
        interval: pg_sys::INTSTYLE_POSTGRES as i32,
        float_digits: 1,
        bytea: ffi::BYTEA_OUTPUT_HEX,
    };

    fn current() -> Style {
        // SAFETY: plain variables of this process.
        unsafe {
            Style {
                date: pg_sys::DateStyle,
                interval: pg_sys::IntervalStyle,
                float_digits: pg_sys::extra_float_digits,
                bytea: ffi::bytea_output,
            }
        }
    }

    fn set(self) {
        // SAFETY: as above; all four values are among those that the settings allow.
        unsafe {
            pg_sys::DateStyle = self.date;
            pg_sys::IntervalStyle = self.interval;
            pg_sys::extra_float_digits = self.float_digits;
            ffi::bytea_output = self.bytea;
        }
    }
}

/// What Postgres sees: its own structure first, ours behind it.
#[repr(C)]
pub(super) struct Receiver<'a, 'b> {
    base: pg_sys::DestReceiver,
    target: Target<'a, 'b>,
    scratch: Context,
    /// The caller's style while ours is in force: what to put back if an error jumps out of a row.
    displaced: Option<Style>,
    panicked: bool,
}

impl<'a, 'b> Receiver<'a, 'b> {
    pub(super) fn new(target: Target<'a, 'b>) -> Receiver<'a, 'b> {
        let scratch = match &target {
            Target::Rows(rows) => rows.scratch,
            Target::Value(value) => value.scratch,
        };
        let base = pg_sys::DestReceiver {
            receiveSlot: Some(receive),
            rStartup: Some(startup),
            rShutdown: Some(shutdown),
            rDestroy: Some(shutdown),
            // Any destination that is neither the client nor nothing: the caller of PortalRun owns the receiver.
            mydest: pg_sys::CommandDest::DestTuplestore,
        };
        Receiver { base, target, scratch, displaced: None, panicked: false }
    }

    /// Lets the statement run on after its answer is cut.
    pub(super) fn set_run_to_end(&mut self, run_to_end: bool) {
        if let Target::Rows(rows) = &mut self.target {
            rows.run_to_end = run_to_end;
        }
    }

    pub(super) fn as_dest(&mut self) -> *mut pg_sys::DestReceiver {
        std::ptr::from_mut(self).cast()
    }

    /// Puts things back after the statement has ended, in whatever way.
    pub(super) fn settle(&mut self) -> Result<(), PgError> {
        if let Some(style) = self.displaced.take() {
            style.set();
        }
        if self.panicked { Err(PgError::internal("a value could not be written")) } else { Ok(()) }
    }

    /// Runs `write` in the scratch context with the style pinned; a panic ends the statement.
    fn writing(&mut self, write: impl FnOnce(&mut Target<'a, 'b>) -> bool) -> bool {
        let style = Style::current();
        self.displaced = Some(style);
        Style::PINNED.set();
        // No guard: an error jumps over this frame, and `attempt` puts the context back.
        // SAFETY: plain assignments of Postgres' variable.
        let context = unsafe {
            let context = pg_sys::CurrentMemoryContext;
            pg_sys::CurrentMemoryContext = self.scratch.raw();
            context
        };
        let result = catch_unwind(AssertUnwindSafe(|| write(&mut self.target)));
        // SAFETY: as above.
        unsafe { pg_sys::CurrentMemoryContext = context };
        style.set();
        self.displaced = None;
        result.unwrap_or_else(|_| {
            self.panicked = true;
            false
        })
    }
}

/// # Safety
/// Called by Postgres with the receiver that `as_dest` gave it.
unsafe extern "C-unwind" fn startup(dest: *mut pg_sys::DestReceiver, _operation: i32, desc: pg_sys::TupleDesc) {
    // SAFETY: `base` is the first field of a `Receiver` that outlives the statement. What a column needs to be written must outlive
    // the rows, so it is made in the context that Postgres called us in, not in the scratch one.
    unsafe {
        let receiver = &mut *dest.cast::<Receiver>();
        let result = catch_unwind(AssertUnwindSafe(|| match &mut receiver.target {
            Target::Rows(rows) => rows.start(desc),
            Target::Value(value) => value.start(desc),
        }));
        receiver.panicked |= result.is_err();
    }
}

/// # Safety
/// As `startup`.
unsafe extern "C-unwind" fn receive(slot: *mut pg_sys::TupleTableSlot, dest: *mut pg_sys::DestReceiver) -> bool {
    // SAFETY: as `startup`.
    unsafe {
        let receiver = &mut *dest.cast::<Receiver>();
        if receiver.panicked {
            return false;
        }
        receiver.writing(|target| match target {
            Target::Rows(rows) => rows.row(slot),
            Target::Value(value) => value.row(slot),
        })
    }
}

/// Nothing to do: the receiver belongs to whoever runs the statement.
unsafe extern "C-unwind" fn shutdown(_dest: *mut pg_sys::DestReceiver) {}
