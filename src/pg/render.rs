//! Values as JSON, one by one.
//!
//! What a type looks like is decided once per column. The common types are written from their bytes; all others by their own output
//! function, so a value reads as it does in psql. Runs inside the executor, in the caller's transaction, under the caller's role. A Postgres
//! error jumps out of these functions: none of them may hold a value with a destructor across a call into Postgres.

use std::ffi::{CStr, c_char};

use mcp::json;
use pgrx::pg_sys::{self, Datum, Oid};
use pgrx::varlena::{vardata_any, varsize_any_exhdr};

use super::{encoding, ffi};

/// How the values of one type are written.
pub(super) enum Shape {
    Bool,
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    /// text and its like: the bytes are the value.
    Text,
    Uuid,
    Json,
    Jsonb,
    Array(Box<Element>),
    /// Anything else: the type's output function.
    Output(pg_sys::FmgrInfo),
}

pub(super) struct Element {
    shape: Shape,
    type_oid: Oid,
    length: i16,
    by_value: bool,
    alignment: c_char,
}

/// How to write values of `type_oid`.
///
/// # Safety
/// Inside a transaction; may raise a Postgres error.
pub(super) unsafe fn shape_of(type_oid: Oid) -> Shape {
    if let Some(shape) = builtin(type_oid) {
        return shape;
    }
    // SAFETY: catalog look-ups; `info` lives on the stack and is plain data.
    unsafe {
        let base = ffi::getBaseType(type_oid);
        if base != type_oid
            && let Some(shape) = builtin(base)
        {
            return shape;
        }
        let element = ffi::get_element_type(base);
        if element != pg_sys::InvalidOid {
            let (mut length, mut by_value, mut alignment) = (0i16, false, 0 as c_char);
            ffi::get_typlenbyvalalign(element, &mut length, &mut by_value, &mut alignment);
            // Boxed only after the last call that may raise: nothing is lost to a jump.
            let shape = shape_of(element);
            return Shape::Array(Box::new(Element { shape, type_oid: element, length, by_value, alignment }));
        }
        let mut function = pg_sys::InvalidOid;
        let mut is_varlena = false;
        ffi::getTypeOutputInfo(type_oid, &mut function, &mut is_varlena);
        let mut info = pg_sys::FmgrInfo::default();
        ffi::fmgr_info_cxt(function, &mut info, pg_sys::CurrentMemoryContext);
        Shape::Output(info)
    }
}

fn builtin(type_oid: Oid) -> Option<Shape> {
    Some(match type_oid {
        pg_sys::BOOLOID => Shape::Bool,
        pg_sys::INT2OID => Shape::Int2,
        pg_sys::INT4OID => Shape::Int4,
        pg_sys::INT8OID => Shape::Int8,
        pg_sys::FLOAT4OID => Shape::Float4,
        pg_sys::FLOAT8OID => Shape::Float8,
        pg_sys::TEXTOID | pg_sys::VARCHAROID | pg_sys::BPCHAROID => Shape::Text,
        pg_sys::UUIDOID => Shape::Uuid,
        pg_sys::JSONOID => Shape::Json,
        pg_sys::JSONBOID => Shape::Jsonb,
        _ => return None,
    })
}

impl Shape {
    /// Bytes that the value takes uncompressed, where that can be told without unpacking it: a text of 500 MB need not be read to see that
    /// it does not fit.
    ///
    /// # Safety
    /// `value` is a value of the shape's type; may raise a Postgres error.
    pub(super) unsafe fn known_size(&self, value: Datum) -> usize {
        match self {
            // SAFETY: these types are varlena.
            Shape::Text | Shape::Json => unsafe { ffi::toast_raw_datum_size(value) },
            _ => 0,
        }
    }

    /// Appends the value. `false`: it would make `out` much longer than `limit`, and what was appended is only a part.
    ///
    /// # Safety
    /// `value` is a value of the shape's type, not null; a transaction is open and the current memory context is short-lived; may raise a
    /// Postgres error.
    pub(super) unsafe fn push(&mut self, out: &mut Vec<u8>, limit: usize, value: Datum) -> bool {
        // SAFETY: the datum's form follows from its type, as the caller promises.
        unsafe {
            match self {
                Shape::Bool => out.extend_from_slice(if value.value() & 0xff != 0 { b"true" } else { b"false" }),
                Shape::Int2 => json::push_integer(out, value.value() as i16 as i64),
                Shape::Int4 => json::push_integer(out, value.value() as i32 as i64),
                Shape::Int8 => json::push_integer(out, value.value() as i64),
                Shape::Float4 => json::push_float(out, f32::from_bits(value.value() as u32)),
                Shape::Float8 => json::push_float(out, f64::from_bits(value.value() as u64)),
                Shape::Text => return push_text(out, limit, varlena_bytes(value)),
                Shape::Uuid => push_uuid(out, value.cast_mut_ptr::<[u8; 16]>().read()),
                Shape::Json => return push_json(out, limit, varlena_bytes(value)),
                Shape::Jsonb => {
                    let jsonb = ffi::pg_detoast_datum(value.cast_mut_ptr());
                    let text = ffi::JsonbToCString(std::ptr::null_mut(), jsonb_root(jsonb), varsize_any_exhdr(jsonb) as i32);
                    return push_json(out, limit, CStr::from_ptr(text).to_bytes());
                }
                Shape::Array(element) => return push_array(out, limit, element, value),
                Shape::Output(info) => {
                    return push_text(out, limit, CStr::from_ptr(ffi::OutputFunctionCall(info, value)).to_bytes());
                }
            }
            true
        }
    }
}

/// The container inside a jsonb value follows its length word.
///
/// # Safety
/// `jsonb` is a detoasted jsonb value.
unsafe fn jsonb_root(jsonb: *mut pg_sys::varlena) -> *mut pg_sys::JsonbContainer {
    // SAFETY: a full varlena header of four bytes, as pg_detoast_datum returns it.
    unsafe { jsonb.cast::<u8>().add(size_of::<i32>()).cast() }
}

/// The bytes of a text-like value, unpacked if need be.
///
/// # Safety
/// A varlena datum; may raise a Postgres error. The slice lives as long as the row or the current memory context.
unsafe fn varlena_bytes<'a>(value: Datum) -> &'a [u8] {
    // SAFETY: as promised by the caller.
    unsafe {
        let text = ffi::pg_detoast_datum_packed(value.cast_mut_ptr());
        std::slice::from_raw_parts(vardata_any(text).cast(), varsize_any_exhdr(text))
    }
}

/// # Safety
/// May raise a Postgres error.
unsafe fn push_text(out: &mut Vec<u8>, limit: usize, bytes: &[u8]) -> bool {
    if bytes.len() > limit.saturating_sub(out.len()) {
        return false;
    }
    // SAFETY: passed on.
    let text = unsafe { encoding::to_utf8(bytes) }.unwrap_or(bytes);
    json::push_lossy(out, text);
    true
}

/// # Safety
/// May raise a Postgres error.
unsafe fn push_json(out: &mut Vec<u8>, limit: usize, bytes: &[u8]) -> bool {
    if bytes.len() > limit.saturating_sub(out.len()) {
        return false;
    }
    // SAFETY: passed on.
    let text = unsafe { encoding::to_utf8(bytes) }.unwrap_or(bytes);
    json::push_json(out, text);
    true
}

fn push_uuid(out: &mut Vec<u8>, bytes: [u8; 16]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    for (i, byte) in bytes.into_iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        out.push(HEX[(byte >> 4) as usize]);
        out.push(HEX[(byte & 15) as usize]);
    }
    out.push(b'"');
}

/// Arrays of several dimensions nest; an empty one is `[]`.
///
/// # Safety
/// An array datum of the element's type; may raise a Postgres error.
unsafe fn push_array(out: &mut Vec<u8>, limit: usize, element: &mut Element, value: Datum) -> bool {
    // SAFETY: deconstruct_array allocates in the current memory context; its two arrays have `count` entries.
    unsafe {
        let array = ffi::pg_detoast_datum(value.cast_mut_ptr()).cast::<pg_sys::ArrayType>();
        let (mut values, mut nulls, mut count) = (std::ptr::null_mut(), std::ptr::null_mut(), 0);
        ffi::deconstruct_array(
            array,
            element.type_oid,
            element.length as i32,
            element.by_value,
            element.alignment,
            &mut values,
            &mut nulls,
            &mut count,
        );
        if count == 0 {
            out.extend_from_slice(b"[]");
            return true;
        }
        // The lengths of the dimensions follow the array's fixed header. At most six (MAXDIM).
        let lengths = std::slice::from_raw_parts(array.add(1).cast::<i32>(), (*array).ndim as usize);
        for i in 0..count as usize {
            for dimension in 0..lengths.len() {
                let stride: usize = lengths[dimension..].iter().map(|&l| l as usize).product();
                if i % stride == 0 {
                    out.push(b'[');
                }
            }
            if *nulls.add(i) {
                out.extend_from_slice(b"null");
            } else if !element.shape.push(out, limit, *values.add(i)) {
                return false;
            }
            if out.len() > limit {
                return false;
            }
            for dimension in 0..lengths.len() {
                let stride: usize = lengths[dimension..].iter().map(|&l| l as usize).product();
                if (i + 1) % stride == 0 {
                    out.push(b']');
                }
            }
            if i + 1 < count as usize {
                out.push(b',');
            }
        }
    }
    true
}
