//! What is derived from a table and kept beside its base: the entries of its indexes, the rows of its views.
//!
//! ```text
//! write    mutations of the base ─► entries of each index ─► one write of the engine: base and entries together, base first
//! read     value ─► entries ─► candidates in the order of the base ─► rows of the base ─► the whole WHERE tried again
//! build    rows that were there before ─► entries, in the background; a record says how far
//! ```
//!
//! Entries are blind: a write adds those of its own values and looks at nothing; what was there before stays behind as a stale entry. A read
//! takes an entry for a hint and asks the row itself, so a stale one never shows. When files of an index are merged, the stale ones are left out: they are
//! forgotten and never deleted, so that no tombstone can hide what is written late.
//!
//! What must hold: a row that is visible and has an indexed value has an entry that is visible. So base and entries are one write, entries live as long as the
//! cell they are for or longer, and whoever wrote without knowing of an index has written before its build begins ([`Database::past_is_over`]).
//!
//! Read in this order: `layout` (where an entry stands), `entries` (from mutations to entries), `views` (the rows of materialized views, which are no hints but
//! answers), `build`, `stale`, `nearest` (vectors in memory).
//!
//! [`Database::past_is_over`]: crate::database::Database::past_is_over

pub mod build;
pub mod entries;
pub mod layout;
pub mod nearest;
pub mod stale;
pub mod views;
