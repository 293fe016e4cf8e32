//! What tables there are and what they look like, as one immutable snapshot.
//!
//! A statement takes the [`Catalog`] of the moment and lives with it to its end; a schema change builds the next
//! catalog from the present one and swaps it in. Nobody ever sees half a change, and nobody waits for one.
//!
//! Read in this order: `catalog` (keyspaces, user types), `table` (columns and their places), `index`, `view`, `types` and `resolve` (types as
//! written); `mask`; `properties`, `options`, `custom`, `replication` (what WITH may say); `change` (statements as changes of the
//! catalog); `turns` (who changes it when); `store` (the catalog at rest); `hashed` (the order of a hash table); `system` (the tables that are made when somebody asks); `describe`.

pub mod catalog;
pub mod change;
pub mod custom;
pub mod describe;
pub mod hashed;
pub mod index;
pub mod mask;
mod mask_argument;
pub mod options;
pub mod properties;
pub mod replication;
pub mod resolve;
pub mod store;
pub mod system;
pub mod table;
pub mod turns;
pub mod types;
pub mod view;

pub use catalog::{Catalog, Keyspace, KeyspaceKind, UserType};
pub use index::Index;
pub use options::TableOptions;
pub use table::{
    Column, ColumnKind, ColumnMask, Definition, DroppedColumn, Encryption, TableKind, TableSchema,
};
pub use view::View;
