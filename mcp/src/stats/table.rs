//! Rows by name, asked with borrowed parts of the name, so that a row that is there is found without an allocation.
//!
//! Rows are only ever added: the place of one is its own as long as the table lives.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;

use super::row::Row;

pub type Name = [Box<str>; 4];

#[derive(Default)]
pub struct Table {
    rows: Vec<(Name, Row)>,
    places: HashTable<usize>,
    /// Seeded at random: names are the callers' choice.
    hasher: RandomState,
}

impl Table {
    pub fn hash(&self, name: [&str; 4]) -> u64 {
        self.hasher.hash_one(name)
    }

    fn find(&self, name: [&str; 4]) -> Option<usize> {
        let is = |at: &usize| self.rows.get(*at).is_some_and(|(known, _)| known.iter().map(AsRef::as_ref).eq(name));
        self.places.find(self.hash(name), is).copied()
    }

    pub fn get(&mut self, name: [&str; 4]) -> Option<&mut Row> {
        let at = self.find(name)?;
        self.rows.get_mut(at).map(|(_, row)| row)
    }

    /// The row of a name, made if need be; `None` if there are `most` rows without it.
    pub fn get_or_insert(&mut self, name: [&str; 4], most: usize) -> Option<&mut Row> {
        let at = match self.find(name) {
            Some(at) => at,
            None if self.rows.len() >= most => return None,
            None => {
                let at = self.rows.len();
                self.rows.push((name.map(Into::into), Row::default()));
                let (rows, hasher) = (&self.rows, &self.hasher);
                let hash = |at: &usize| rows.get(*at).map_or(0, |(name, _)| hasher.hash_one(name.each_ref().map(AsRef::<str>::as_ref)));
                self.places.insert_unique(hasher.hash_one(name), at, hash);
                at
            }
        };
        self.rows.get_mut(at).map(|(_, row)| row)
    }

    pub fn at(&self, place: usize) -> Option<&(Name, Row)> {
        self.rows.get(place)
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }
}
