//! What becomes of tables: made, put under another key, given new data keys, dropped; and what is derived from them: built and dropped.

use palladium_crypto::CmkRef;
use palladium_storage::Store;

use crate::requests::HEALED;
use crate::values::Table;
use crate::world::{Aim, Derived, KEYS, Kept, NAMES, World, key};

impl World {
    pub fn is_being_changed(&self, table: Table) -> bool {
        self.requests.values().any(|request| {
            let changes = matches!(
                request.aim,
                Aim::Switch { .. } | Aim::Rewrite(_) | Aim::Drop(_)
            );
            changes && request.tables.contains(&table)
        })
    }

    pub fn switch(&mut self) {
        let to = key(self.draw(KEYS + 1));
        if let Some(table) = self.some_customer_table() {
            self.switch_to(table, to);
        }
    }

    pub fn switch_to(&mut self, table: Table, to: CmkRef) {
        if self.is_being_changed(table) {
            return;
        }
        let id = self.tables[&table].id;
        if let Some(path) = self.root_path(id) {
            let root = self.disk.contents(&path);
            self.old_roots.extend(root.map(|root| (id, root)));
        }
        let request = self.begin(Aim::Switch { to: to.clone() }, vec![table]);
        self.say(format!("#{request} switches {table} to {to}"));
        let kept = self.tables.get_mut(&table).expect("it was picked");
        if !kept.cmks.contains(&to) {
            kept.cmks.push(to.clone());
        }
        // A request that begins now may need the new key, and a no that was on its way when that key was given back still holds for a while.
        if self.flow() - self.faults_changed.max(self.jumped_at) < HEALED {
            self.tables
                .get_mut(&table)
                .expect("it was picked")
                .fine_since = None;
        }
        self.note_fine();
        self.call_for(4);
        let work = self.life.clone().switch(request, id, to);
        self.life.spawn(work);
    }

    pub fn rewrite(&mut self) {
        let Some(table) = self.some_customer_table() else {
            return;
        };
        if self.is_being_changed(table) {
            return;
        }
        let id = self.tables[&table].id;
        let present = self.sstables_of(id);
        let request = self.begin(Aim::Rewrite(present), vec![table]);
        self.say(format!("#{request} gives {table} new data keys"));
        let work = self.life.clone().rewrite(request, id);
        self.life.spawn(work);
    }

    pub fn create(&mut self) {
        let is_taken = |name: &String| {
            let making = self.requests.values().any(|request| match &request.aim {
                Aim::Create(kept) => kept.name == *name,
                _ => false,
            });
            making || self.tables.values().any(|kept| kept.name == *name)
        };
        let free: Vec<String> = (0..NAMES)
            .map(|number| format!("t{number}"))
            .filter(|name| !is_taken(name))
            .collect();
        let Some(name) = self.pick(&free) else {
            return;
        };
        let cmk = key(self.draw(KEYS + 1));
        self.create_as(name, cmk);
    }

    pub fn create_as(&mut self, name: String, cmk: CmkRef) -> Table {
        let (table, kept) = self.new_table(name.clone(), cmk.clone());
        let id = kept.id;
        let request = self.begin(Aim::Create(kept), vec![table]);
        self.say(format!("#{request} creates {table} as {name} under {cmk}"));
        self.call_for(3);
        let work = self.life.clone().create(request, id, name, cmk);
        self.life.spawn(work);
        table
    }

    pub fn drop_a_table(&mut self) {
        let Some(table) = self.some_customer_table() else {
            return;
        };
        if self.is_being_changed(table) {
            return;
        }
        let kept = self.tables.remove(&table).expect("it was picked");
        self.values.dropped(table);
        self.counts.dropped(table);
        self.registers.dropped(table);
        let request = self.begin(Aim::Drop(kept.id), vec![table]);
        self.say(format!("#{request} drops {table}, {}", kept.name));
        let work = self.life.clone().drop_table(request, kept.id);
        self.life.spawn(work);
    }

    // What is derived.

    /// All that a table has, and what is written goes to.
    pub fn written(&self, table: Table) -> Vec<Store> {
        let derived = self.tables[&table].derived;
        let derived = derived.map(|derived| derived.store);
        [Store::BASE].into_iter().chain(derived).collect()
    }

    /// What may be read of a table.
    pub fn readable(&self, table: Table) -> Vec<Store> {
        let derived = self.tables[&table].derived;
        let derived = derived.filter(|derived| derived.is_built);
        let derived = derived.map(|derived| derived.store);
        [Store::BASE].into_iter().chain(derived).collect()
    }

    /// A table loses what is derived from it, or begins to have such: what is written from now on goes there, too, and what is there already follows.
    pub fn derive_or_drop(&mut self) {
        let Some(table) = self.some_customer_table() else {
            return;
        };
        let is_under_way = self.requests.values().any(|request| {
            let changes = matches!(
                request.aim,
                Aim::Derive(_) | Aim::DropStore(_) | Aim::Drop(_)
            );
            changes && request.tables.contains(&table)
        });
        if is_under_way {
            return;
        }
        let (id, life) = (self.tables[&table].id, self.life.clone());
        match self.tables[&table].derived {
            Some(Derived { store, .. }) => {
                let request = self.begin(Aim::DropStore(store), vec![table]);
                self.say(format!("#{request} drops {store:?} of {table}"));
                self.kept(table).derived = None;
                self.life.spawn(life.drop_store(request, id, store));
            }
            // What was handed over before it began, and is written after it was read, would be missing.
            None if self.is_being_written(table) => {}
            None => {
                let kept = self.kept(table);
                let store = Store(kept.next_store);
                kept.next_store += 1;
                kept.derived = Some(Derived {
                    store,
                    is_built: false,
                });
                let request = self.begin(Aim::Derive(store), vec![table]);
                self.say(format!("#{request} derives {store:?} of {table}"));
                self.life.spawn(life.derive(request, id, store));
            }
        }
    }

    fn kept(&mut self, table: Table) -> &mut Kept {
        self.tables.get_mut(&table).expect("it was picked")
    }
}
