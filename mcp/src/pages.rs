//! A list in pages. A cursor is the name of the last entry that was given out, so a list that changes in between loses nothing but what is
//! gone. Pure.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

/// Most bytes of one page, unless a single entry is longer. Many clients never ask for a second page, so one is large.
const PAGE_BYTES: usize = 256 * 1024;

/// What an entry is known by.
#[derive(Deserialize)]
struct Key {
    uri: Option<String>,
    #[serde(rename = "uriTemplate")]
    template: Option<String>,
    name: Option<String>,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Fault {
    /// The client's: no list gave that cursor out.
    Cursor,
    /// Ours: the list is not what it should be.
    List(String),
}

/// One page out of a JSON array, whose entries are in the order of their URI or name, and the cursor of the next.
pub fn page<T: DeserializeOwned>(list: &[u8], cursor: Option<&str>) -> Result<(Vec<T>, Option<String>), Fault> {
    let last = match cursor {
        None => None,
        Some(cursor) => Some(URL_SAFE_NO_PAD.decode(cursor).map_err(|_| Fault::Cursor)?),
    };
    let unreadable = |error: serde_json::Error| Fault::List(error.to_string());
    let entries: Vec<&RawValue> = serde_json::from_slice(list).map_err(unreadable)?;
    let (mut items, mut bytes, mut given) = (Vec::new(), 0, None);
    for entry in entries {
        let Key { uri, template, name } = serde_json::from_str(entry.get()).map_err(unreadable)?;
        let key = uri.or(template).or(name).unwrap_or_default().into_bytes();
        if last.as_ref().is_some_and(|last| key <= *last) {
            continue;
        }
        bytes += entry.get().len();
        if bytes > PAGE_BYTES && !items.is_empty() {
            return Ok((items, given.map(|key: Vec<u8>| URL_SAFE_NO_PAD.encode(key))));
        }
        items.push(serde_json::from_str(entry.get()).map_err(unreadable)?);
        given = Some(key);
    }
    Ok((items, None))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn walk(list: &Value) -> Vec<Vec<Value>> {
        let list = list.to_string();
        let (mut pages, mut cursor) = (Vec::new(), None);
        loop {
            let (items, next) = page::<Value>(list.as_bytes(), cursor.as_deref()).unwrap();
            pages.push(items);
            match next {
                Some(next) => cursor = Some(next),
                None => return pages,
            }
        }
    }

    #[test]
    fn a_short_list_is_one_page() {
        assert_eq!(walk(&json!([])), [Vec::<Value>::new()]);
        let list = json!([{"name": "a"}, {"name": "b"}]);
        assert_eq!(walk(&list), [list.as_array().unwrap().clone()]);
    }

    #[test]
    fn a_long_list_comes_whole_and_in_order() {
        let text = "x".repeat(PAGE_BYTES / 3);
        let tools: Vec<Value> = (0..8).map(|i| json!({"name": format!("t{i}"), "description": text})).collect();
        let pages = walk(&json!(tools));
        assert!(pages.len() > 2 && pages.iter().all(|page| page.len() <= 3));
        assert_eq!(pages.concat(), tools);
        let huge = json!([{"uri": "a", "name": "z", "x": "x".repeat(PAGE_BYTES)}, {"uri": "b", "name": "a"}]);
        assert_eq!(walk(&huge).len(), 2);
    }

    #[test]
    fn entries_may_come_and_go_between_pages() {
        let (items, _) = page::<Value>(br#"[{"name":"a"},{"name":"c"}]"#, Some(&URL_SAFE_NO_PAD.encode("b"))).unwrap();
        assert_eq!(items, [json!({"name": "c"})]);
    }

    #[test]
    fn other_cursors_are_refused() {
        assert_eq!(page::<Value>(b"[]", Some("!")).unwrap_err(), Fault::Cursor);
        assert!(matches!(page::<Value>(b"{}", None), Err(Fault::List(_))));
    }
}
