//! What changes tables: flushes and merges, locks, keys, strategies; what empties, drops and makes them.

use futures::future::{BoxFuture, FutureExt};
use palladium_storage::{Env, Error, NewTable};

use super::strategies::table_options;
use super::{Oracle, Story, TABLES};
use crate::world::{id, keys_of, root};

impl Story {
    pub(super) fn lock_and_unlock(&self, table: u8) -> BoxFuture<'static, ()> {
        let (engine, id) = (self.world.engine.clone(), id(self.number(table)));
        let sleeps = self.draw(2) == 0;
        async move {
            match sleeps {
                true => engine.sleep(id).await,
                false => engine.lock(id).await,
            }
            if let Some(root) = engine.root(id) {
                // Busy: another key has come meanwhile, and who has it unlocks.
                let _ = engine.unlock(id, keys_of(&root)).await;
            }
        }
        .boxed()
    }

    /// Ends the mirror of a table; another one begins, with what is written from now on.
    pub(super) fn drop_store(&mut self) {
        let Some(table) = self.some_table() else {
            return;
        };
        let (id, oracle) = (
            id(self.number(table)),
            &mut self.oracles[usize::from(table)],
        );
        let store = oracle.mirror();
        oracle.stores += 1;
        // An error: what is left of it is nobody's.
        let dropped = self.world.env.run(self.world.engine.drop_store(id, store));
        if dropped.is_ok() {
            match self.table_rows(table, store, self.now()) {
                Ok(_) => panic!("{}: a store that has ended answers", self.context()),
                Err(Error::Busy { .. }) => {}
                Err(error) => self.excuse(&error),
            }
        }
    }

    pub(super) fn tidy(&mut self) {
        let id = self.some_table().map(|table| id(self.number(table)));
        match self.draw(2) {
            0 => drop(self.world.env.run(self.world.engine.flush(id))),
            _ => drop(self.world.env.run(self.world.engine.compact(id))),
        }
    }

    /// A failed log can still be read from, and nothing else is expected of it.
    pub(super) fn may_fail(&self) -> bool {
        self.world.disk.is_down() || self.log_failed
    }

    pub(super) fn unlock(&mut self, table: u8) {
        if !self.oracles[usize::from(table)].exists {
            return;
        }
        let mut unlocked = self.world.unlock(self.number(table));
        loop {
            match unlocked {
                // A switch that nobody waits for any more has come between: its root needs another key.
                Err(Error::Busy { .. }) => {}
                // What could not be read is read the next time.
                Err(Error::Io { .. }) if !self.world.disk.is_down() => {
                    self.world.disk.fail_reads_after(0, 0);
                }
                Err(error) => return self.excuse(&error),
                Ok(()) => return,
            }
            unlocked = self.world.unlock(self.number(table));
        }
    }

    pub(super) fn reopen_one_table(&mut self) {
        if let Some(table) = self.some_table() {
            let round = self.lock_and_unlock(table);
            self.world.env.run(round);
            self.unlock(table);
        }
    }

    pub(super) fn switch(&mut self) {
        if let Some(table) = self.some_table() {
            // An error: the old root stands, or the disk is down and the next start says which.
            let _ = self.world.switch(self.number(table));
        }
    }

    pub(super) fn truncate(&mut self) {
        let Some(table) = self.some_table() else {
            return;
        };
        let id = id(self.number(table));
        let truncated = self.world.env.run(self.world.engine.truncate(id));
        let oracle = &mut self.oracles[usize::from(table)];
        match truncated {
            Ok(()) => oracle.known.clear(),
            Err(_) => oracle.may_be_empty = true,
        }
    }

    pub(super) fn create(&mut self, table: u8) {
        let number = self.number(table);
        let root = root(number, 1, &[], 1, self.world.env.entropy());
        let new = NewTable {
            id: id(number),
            options: table_options(self.draw(u64::MAX)),
            keys: keys_of(&root),
            root: Some(root),
        };
        let created = self.world.env.run(self.world.engine.create_table(new));
        let oracle = &mut self.oracles[usize::from(table)];
        *oracle = Oracle {
            generation: oracle.generation,
            exists: created.is_ok(),
            ..Oracle::default()
        };
        if created.is_err() {
            self.unfinished.push(number);
            // A number that was used once may have left a root behind.
            oracle.generation += 1;
        }
    }

    pub(super) fn drop_or_create(&mut self) {
        let table = self.draw(TABLES.into()) as u8;
        if !self.oracles[usize::from(table)].exists {
            return self.create(table);
        }
        let number = self.number(table);
        let dropped = self.world.env.run(self.world.engine.drop_table(id(number)));
        let again = self.draw(2) as u8;
        let oracle = &mut self.oracles[usize::from(table)];
        oracle.exists = false;
        match dropped {
            // The same id may be used again at once.
            Ok(()) => oracle.generation += again,
            Err(_) => {
                self.unfinished.push(number);
                oracle.generation += 1;
            }
        }
        for given in &mut self.unknown {
            given.versions.retain(|(of, _, _)| *of != table);
        }
    }

    /// What is there is merged in another way from now on.
    pub(super) fn change_strategy(&mut self) {
        if let Some(table) = self.some_table() {
            let options = table_options(self.draw(u64::MAX));
            let id = id(self.number(table));
            self.world.engine.set_options(id, options).unwrap();
        }
    }
}
