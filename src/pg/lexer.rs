//! The constants of an SQL text, found by Postgres' own lexer, so that nothing is taken for a constant, or for none, that the server would read otherwise.
//!
//! Runs on the main thread of an executor, or in the backend of whoever reads the audit trail. Looks at text, runs nothing, reads no catalog; needs
//! no transaction, and leaves none behind in another state: the lexer only allocates memory. What a token is, is told by how it begins: the
//! grammar's numbers for tokens are private to the server and differ from version to version.

use std::ffi::{CStr, CString, c_char};
use std::ops::Range;

use pgrx::pg_sys;

use super::error::{PgError, attempt};
use super::{ffi, server};

/// Tokens that are read under one guard.
const BATCH: usize = 4096;
/// Longer runs of the characters of operators are not read: of `++++` and `/*/*` the lexer looks at the whole run again for each, and a long text would
/// keep the process busy for hours, out of reach of a cancel. A ruler in a comment is shorter.
const MOST_OPERATOR_CHARS: usize = 256;

/// A part of a text that is not copied as it is.
struct Piece<'a> {
    range: Range<usize>,
    kind: Kind<'a>,
}

enum Kind<'a> {
    /// With its value: of a string what it stands for, of a number its digits.
    Constant(&'a [u8]),
    /// `$1` and the like.
    Parameter,
    /// White space with comments in it.
    Comments,
}

/// The text with `$1`, `$2` ... for its constants, counting on from the parameters that it has; `None` if it is no SQL. In the database's encoding.
///
/// May raise a Postgres error at a cancel: for code that Postgres called.
pub fn normalised(text: &[u8]) -> Option<Vec<u8>> {
    let text = CString::new(text).ok()?;
    let mut parameter = 0u64;
    let highest = &mut |piece: Piece| {
        if matches!(piece.kind, Kind::Parameter) {
            let digits = std::str::from_utf8(text.to_bytes().get(piece.range.start + 1..piece.range.end)?).ok()?;
            parameter = parameter.max(digits.parse().ok()?);
        }
        Some(())
    };
    walk(&text, Reader::Anybody, highest)?;
    let mut out = Copy::new(text.to_bytes());
    let number = &mut |piece: Piece| {
        if matches!(piece.kind, Kind::Constant(_)) {
            parameter = parameter.checked_add(1)?;
            out.replace(piece.range, format!("${parameter}").as_bytes());
        }
        Some(())
    };
    walk(&text, Reader::Anybody, number)?;
    Some(out.finish())
}

/// The text with a string constant for each of its constants, whose value `hash` makes of theirs, and a space for each comment. Ends, where it
/// may, soon after `most` bytes. `None` if it is no SQL; then nobody can say where its constants are.
pub fn hashed(text: &str, most: usize, hash: &mut dyn FnMut(&[u8]) -> String) -> Option<String> {
    let source = CString::new(text).ok()?;
    let mut out = Copy::new(source.to_bytes());
    let mut full = false;
    let replace = &mut |piece: Piece| {
        match piece.kind {
            Kind::Constant(value) => out.replace(piece.range, format!("'{}'", hash(value)).as_bytes()),
            Kind::Comments => out.replace(piece.range, b" "),
            Kind::Parameter => {}
        }
        full = out.out.len() > most;
        (!full).then_some(())
    };
    let walked = walk(&source, Reader::Executor, replace);
    if full {
        return String::from_utf8(out.out).ok();
    }
    walked?;
    String::from_utf8(out.finish()).ok()
}

/// A text being copied with some of it replaced.
struct Copy<'a> {
    text: &'a [u8],
    copied: usize,
    out: Vec<u8>,
}

impl Copy<'_> {
    fn new(text: &[u8]) -> Copy<'_> {
        Copy { text, copied: 0, out: Vec::new() }
    }

    fn replace(&mut self, range: Range<usize>, by: &[u8]) {
        self.out.extend_from_slice(self.text.get(self.copied..range.start).unwrap_or_default());
        self.out.extend_from_slice(by);
        self.copied = range.end;
    }

    fn finish(mut self) -> Vec<u8> {
        self.out.extend_from_slice(self.text.get(self.copied..).unwrap_or_default());
        self.out
    }
}

/// On whose behalf a text is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reader {
    /// Of the caller of a tool, with the settings that the text is about to be parsed with.
    Executor,
    /// Of somebody later on: with the settings that nearly every session has, so that it always comes out the same.
    Anybody,
}

/// What a token is, as far as it matters here.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// A string in any of its forms.
    Text,
    /// `U&'...'` and `U&"..."`, after which a clause may name the character that escapes.
    Unicode,
    Number,
    Parameter,
    /// The word that begins that clause.
    Uescape,
    Other,
}

/// By how the lexer's own tokens begin: a quote or a digit begins nothing else, a letter before a quote belongs to it.
fn classify(word: &[u8]) -> Class {
    match word {
        [b'\'', ..] | [b'e' | b'E' | b'b' | b'B' | b'x' | b'X', b'\'', ..] => Class::Text,
        [b'u' | b'U', b'&', b'\'' | b'"', ..] => Class::Unicode,
        [b'$', b'0'..=b'9', ..] => Class::Parameter,
        [b'$', ..] => Class::Text,
        [b'0'..=b'9', ..] | [b'.', b'0'..=b'9', ..] => Class::Number,
        _ if word.eq_ignore_ascii_case(b"uescape") => Class::Uescape,
        _ => Class::Other,
    }
}

/// Hands the pieces of a text to `each`, in their order, until that says `None`. `None` also if the text cannot be read.
fn walk(text: &CStr, reader: Reader, each: &mut dyn FnMut(Piece) -> Option<()>) -> Option<()> {
    let bytes = text.to_bytes();
    if bytes.split(|b| !b"~!@#^&|`?+-*/%<>=".contains(b)).any(|run| run.len() > MOST_OPERATOR_CHARS) {
        return None;
    }
    let mut scanner = Scanner::start(text, reader).ok()?;
    let mut tokens = Vec::with_capacity(BATCH);
    // The last token, and the classes of the last two.
    let (mut last, mut classes) = (0..0, [Class::Other; 2]);
    while !scanner.read(&mut tokens).ok()? {
        for token in &tokens {
            let mut range = token.range.clone();
            let word = bytes.get(range.clone())?;
            let class = classify(word);
            let gap = last.end..range.start;
            if has_comment(bytes.get(gap.clone())?) {
                each(Piece { range: gap, kind: Kind::Comments })?;
            }
            // UESCAPE '!' is a part of the constant or the name before it.
            let escape = classes == [Class::Unicode, Class::Uescape] && word.len() == 3;
            let is_text = class == Class::Text || class == Class::Unicode && word.last() == Some(&b'\'');
            // N'...' comes as two tokens.
            if is_text && last.end == range.start && matches!(bytes.get(last.clone()), Some(b"n" | b"N")) {
                range.start = last.start;
            }
            match class {
                _ if is_text && !escape => each(Piece { range, kind: Kind::Constant(scanner.value(token)) })?,
                Class::Number => each(Piece { range, kind: Kind::Constant(word) })?,
                Class::Parameter => each(Piece { range, kind: Kind::Parameter })?,
                _ => {}
            }
            last = token.range.clone();
            classes = [classes[1], class];
        }
        if reader == Reader::Anybody {
            server::check_for_interrupts();
        }
    }
    let gap = last.end..bytes.len();
    if has_comment(bytes.get(gap.clone())?) {
        each(Piece { range: gap, kind: Kind::Comments })?;
    }
    Some(())
}

/// Whether what is between two tokens is more than white space.
fn has_comment(gap: &[u8]) -> bool {
    gap.iter().any(|b| matches!(b, b'-' | b'/'))
}

/// The lexer at work, with a memory context of its own.
struct Scanner {
    context: pg_sys::MemoryContext,
    scanner: pg_sys::core_yyscan_t,
    /// The lexer keeps a pointer to it.
    extra: Box<pg_sys::core_yy_extra_type>,
    done: bool,
}

struct Token {
    range: Range<usize>,
    /// A C string in the scanner's memory, if the token is a string.
    value: *const c_char,
}

impl Scanner {
    fn start(text: &CStr, reader: Reader) -> Result<Scanner, PgError> {
        let mut extra = Box::<pg_sys::core_yy_extra_type>::default();
        let place = &raw mut *extra;
        // SAFETY: the lexer copies the text; the tables of keywords are the server's own constants. Only Postgres' code can raise the error.
        let (context, scanner) = unsafe {
            attempt(|| {
                let before = pg_sys::CurrentMemoryContext;
                let context = ffi::AllocSetContextCreateInternal(
                    before,
                    c"supabase_mcp lexer".as_ptr(),
                    pg_sys::ALLOCSET_DEFAULT_MINSIZE as usize,
                    pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
                    pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
                );
                pg_sys::CurrentMemoryContext = context;
                let scanner =
                    ffi::scanner_init(text.as_ptr(), place, &raw const pg_sys::ScanKeywords, (&raw const pg_sys::ScanKeywordTokens).cast());
                pg_sys::CurrentMemoryContext = before;
                (context, scanner)
            })
        }?;
        extra.escape_string_warning = false;
        if reader == Reader::Anybody {
            extra.standard_conforming_strings = true;
            extra.backslash_quote = pg_sys::BackslashQuoteType::BACKSLASH_QUOTE_ON as i32;
        }
        Ok(Scanner { context, scanner, extra, done: false })
    }

    /// The next tokens; `true` if there are none any more.
    fn read(&mut self, tokens: &mut Vec<Token>) -> Result<bool, PgError> {
        tokens.clear();
        if self.done {
            return Ok(true);
        }
        // A name that is too long is a notice, for whoever reads a text about it hundreds of times.
        // SAFETY: variables of Postgres' own on its own thread, put back below on both ways out.
        let levels = unsafe { (pg_sys::client_min_messages, pg_sys::log_min_messages) };
        // SAFETY: the scanner is live. The list has room for all that is added, and belongs to the caller's frame; nothing else here has a destructor.
        let ended = unsafe {
            attempt(|| {
                pg_sys::client_min_messages = pgrx::PgLogLevel::ERROR as i32;
                pg_sys::log_min_messages = pgrx::PgLogLevel::ERROR as i32;
                let before = pg_sys::CurrentMemoryContext;
                pg_sys::CurrentMemoryContext = self.context;
                let mut ended = false;
                while !ended && tokens.len() < BATCH {
                    let mut value = pg_sys::core_YYSTYPE { str_: std::ptr::null_mut() };
                    let mut at = 0;
                    ended = ffi::core_yylex(&raw mut value, &raw mut at, self.scanner) == 0;
                    if !ended {
                        // The lexer puts a NUL behind the token for as long as it is the last one.
                        let start = at as usize;
                        let end = start + libc::strlen(self.extra.scanbuf.add(start));
                        tokens.push(Token { range: start..end, value: value.str_ });
                    }
                }
                pg_sys::CurrentMemoryContext = before;
                ended
            })
        };
        // SAFETY: as above.
        unsafe { (pg_sys::client_min_messages, pg_sys::log_min_messages) = levels };
        self.done = ended?;
        Ok(false)
    }

    /// What a string stands for.
    fn value(&self, token: &Token) -> &[u8] {
        if token.value.is_null() {
            return b"";
        }
        // SAFETY: of a string the lexer returns a C string in the scanner's context, which lives as long as the scanner.
        unsafe { CStr::from_ptr(token.value) }.to_bytes()
    }
}

impl Drop for Scanner {
    fn drop(&mut self) {
        // SAFETY: the scanner's own context, not the current one; everything that the lexer allocated is in it.
        unsafe { ffi::MemoryContextDelete(self.context) }
    }
}
