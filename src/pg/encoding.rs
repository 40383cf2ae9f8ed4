//! Between the database's encoding and UTF-8, whatever the caller does to `client_encoding`.
//!
//! The conversion functions are looked up once, right after the process has connected, so that text can be converted outside a
//! transaction and in a failed one. Nothing here reads a catalog after `init`.

use std::cell::OnceCell;
use std::ffi::c_int;

use pgrx::pg_sys;

use super::error::{PgError, attempt};
use super::{Pg, ffi};

/// Room that a conversion may need per byte: Postgres' MAX_CONVERSION_GROWTH.
const GROWTH: usize = 4;

struct Conversion {
    server: c_int,
    /// Both ways, or none: SQL_ASCII, and encodings without a conversion, carry bytes that nobody can name.
    functions: Option<(pg_sys::FmgrInfo, pg_sys::FmgrInfo)>,
}

thread_local! {
    /// Unset means UTF-8: nothing to convert.
    static CONVERSION: OnceCell<Conversion> = const { OnceCell::new() };
}

/// Learns the database's encoding. Call inside a transaction, once.
pub fn init(_: &Pg) -> Result<(), PgError> {
    // SAFETY: set when the process connected, constant since.
    let server = unsafe { pg_sys::GetDatabaseEncoding() };
    let utf8 = pg_sys::pg_enc::PG_UTF8 as c_int;
    if server == utf8 {
        return Ok(());
    }
    let mut pair = [pg_sys::FmgrInfo::default(), pg_sys::FmgrInfo::default()];
    let mut found = false;
    if server != pg_sys::pg_enc::PG_SQL_ASCII as c_int {
        // SAFETY: catalog look-ups inside the caller's transaction; the infos live in TopMemoryContext, for the process's life.
        unsafe {
            attempt(|| {
                let out = ffi::FindDefaultConversionProc(server, utf8);
                let back = ffi::FindDefaultConversionProc(utf8, server);
                if out != pg_sys::InvalidOid && back != pg_sys::InvalidOid {
                    ffi::fmgr_info_cxt(out, &mut pair[0], pg_sys::TopMemoryContext);
                    ffi::fmgr_info_cxt(back, &mut pair[1], pg_sys::TopMemoryContext);
                    found = true;
                }
            })?;
        }
    }
    let [out, back] = pair;
    CONVERSION.with(|c| {
        let _ = c.set(Conversion { server, functions: found.then_some((out, back)) });
    });
    Ok(())
}

/// Whether the database stores text in UTF-8 as it is: SQL_ASCII has whatever it is given. In any process that is connected.
pub fn stores_utf8() -> bool {
    // SAFETY: set when the process connected, constant since.
    let server = unsafe { pg_sys::GetDatabaseEncoding() };
    server == pg_sys::pg_enc::PG_UTF8 as c_int || server == pg_sys::pg_enc::PG_SQL_ASCII as c_int
}

/// Whether it is the database's encoding. In any process that is connected.
pub fn is_utf8() -> bool {
    // SAFETY: set when the process connected, constant since.
    unsafe { pg_sys::GetDatabaseEncoding() == pg_sys::pg_enc::PG_UTF8 as c_int }
}

/// Server text as UTF-8; what is not valid becomes U+FFFD.
pub fn to_utf8_lossy(bytes: &[u8]) -> String {
    // SAFETY: errors are caught; the result is copied before its context can be reset.
    let converted = match unsafe { attempt(|| to_utf8(bytes).map(|b| (b.as_ptr(), b.len()))) } {
        // SAFETY: pointer and length of the slice that `to_utf8` returned, alive in the current context or in `bytes`.
        Ok(Some((data, length))) => unsafe { std::slice::from_raw_parts(data, length) },
        _ => bytes,
    };
    String::from_utf8_lossy(converted).into_owned()
}

/// Server text in UTF-8: the same bytes where nothing needs converting, else bytes in the current memory context. `None` where the encoding
/// is not known. The result may still be invalid UTF-8 if the stored bytes are.
///
/// # Safety
/// On the main thread; may raise a Postgres error.
pub(super) unsafe fn to_utf8(bytes: &[u8]) -> Option<&[u8]> {
    if bytes.is_ascii() {
        return Some(bytes);
    }
    CONVERSION.with(|c| match c.get() {
        None => Some(bytes),
        Some(Conversion { functions: None, .. }) => None,
        Some(Conversion { server, functions: Some((out, _)) }) => {
            // SAFETY: passed on.
            Some(unsafe { convert(out, *server, pg_sys::pg_enc::PG_UTF8 as c_int, bytes) })
        }
    })
}

/// UTF-8 text in the server's encoding, NUL-terminated, in the current memory context. A character that the database's encoding lacks is
/// an error, as for any client.
pub fn from_utf8(_: &Pg, text: &str) -> Result<*const std::ffi::c_char, PgError> {
    // SAFETY: copies `text` and a terminator into palloc'd memory; on the main thread by the token.
    unsafe {
        attempt(|| {
            let converted = CONVERSION.with(|c| match c.get() {
                Some(Conversion { server, functions: Some((_, back)) }) if !text.is_ascii() => {
                    convert(back, pg_sys::pg_enc::PG_UTF8 as c_int, *server, text.as_bytes())
                }
                _ => text.as_bytes(),
            });
            ffi::pnstrdup(converted.as_ptr().cast(), converted.len()) as *const _
        })
    }
}

/// # Safety
/// As `to_utf8`.
unsafe fn convert<'a>(function: &pg_sys::FmgrInfo, from: c_int, to: c_int, bytes: &'a [u8]) -> &'a [u8] {
    // SAFETY: the arguments are those of every conversion function; the source is NUL-terminated by pnstrdup, as they ask, and the
    // destination has the room that Postgres itself gives them.
    unsafe {
        let source = ffi::pnstrdup(bytes.as_ptr().cast(), bytes.len());
        let destination = ffi::MemoryContextAllocHuge(pg_sys::CurrentMemoryContext, bytes.len() * GROWTH + 1) as *mut u8;
        ffi::FunctionCall6Coll(
            std::ptr::from_ref(function).cast_mut(),
            pg_sys::InvalidOid,
            pg_sys::Datum::from(from),
            pg_sys::Datum::from(to),
            pg_sys::Datum::from(source),
            pg_sys::Datum::from(destination),
            pg_sys::Datum::from(bytes.len() as i32),
            pg_sys::Datum::from(false),
        );
        std::slice::from_raw_parts(destination, std::ffi::CStr::from_ptr(destination.cast()).to_bytes().len())
    }
}
