//! Companions of derived stores: attached, looked at, taken away.

use std::any::Any;
use std::ops::Deref;
use std::sync::Arc;

use palladium_crypto::TableId;

use crate::backend::Backend;
use crate::companion::Companion;
use crate::engine::Engine;
use crate::error::Result;
use crate::lease::Reading;
use crate::model::Store;
use crate::table::Pass;

/// Leave to look at a companion. While it is held the table's secrets stay in memory: for a moment, never over a wait.
pub struct Beside<T> {
    companion: Arc<T>,
    /// Goes last: whoever closes the table waits for it.
    pass: Pass,
}

impl<T> Deref for Beside<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.companion
    }
}

impl<B: Backend> Engine<B> {
    /// Puts a companion beside a derived store of an open table, and says whether it did: there may be one.
    pub fn attach(
        &self,
        table: TableId,
        store: Store,
        companion: Arc<dyn Companion>,
    ) -> Result<bool> {
        self.pass_of(table)?.attach(store, companion)
    }

    /// The companion of a derived store. None: there is none, or another kind.
    pub fn beside<T: Companion>(&self, table: TableId, store: Store) -> Result<Option<Beside<T>>> {
        let pass = self.pass_of(table)?;
        let Some(companion) = pass.companion(store) else {
            return Ok(None);
        };
        let companion: Arc<dyn Any + Send + Sync> = companion;
        let companion = companion.downcast().ok();
        Ok(companion.map(|companion| Beside { companion, pass }))
    }

    /// Takes the companion of a derived store away, if `is_meant` says so.
    pub fn detach<T: Companion>(
        &self,
        table: TableId,
        store: Store,
        is_meant: impl FnOnce(&T) -> bool,
    ) -> Result<()> {
        if let Some(beside) = self.beside::<T>(table, store)?
            && is_meant(&beside)
        {
            beside.pass.detach(Some(store));
        }
        Ok(())
    }

    fn pass_of(&self, table: TableId) -> Result<Pass> {
        let clock = Reading::now(&*self.inner.env);
        self.inner.tables.get(table)?.pass(clock)
    }
}
