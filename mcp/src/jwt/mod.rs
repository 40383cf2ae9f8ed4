//! JSON Web Tokens: from the text of a bearer token and the settings to the role and the claims that it stands for.
//!
//! `token` decides and is pure; `keys` says which keys may sign what; `strict` reads JSON that others wrote; `store` keeps the keys and
//! looks after their files. Nothing here asks the database, and nothing opens a connection: keys come from settings and files.

mod keys;
mod settings;
mod store;
mod strict;
mod token;

pub use settings::{Jwt, KeySources, Oauth, Scope, Secret};
pub use store::Store;
pub use token::{Refusal, Verified, has_shape, verify};
