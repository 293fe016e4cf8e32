//! One step: draw what happens, let it happen, listen, judge.

use std::time::Duration;

use palladium::audit::Asker;
use palladium_crypto::{Behavior, CmkRef, DenialReason, GrantOperation, UnavailableReason};
use palladium_storage::Crash;

use crate::client::Wanted;
use crate::values::Table;
use crate::world::{KEYS, Scope, Trouble, World, context, key};

impl World {
    pub fn step(&mut self) {
        let wall_before = self.now().wall_micros;
        match self.draw(1000) {
            0..196 => self.write_some(),
            196..216 => self.compare(),
            216..220 => self.derive_or_drop(),
            220..257 => self.count(),
            257..260 => self.truncate(),
            260..430 => self.read_some(),
            430..472 => self.tidy(),
            472..480 => self.rewrite(),
            480..640 => self.pass(Duration::from_millis(self.draw(2_000))),
            640..725 => self.pass(Duration::from_millis(2_000 + self.draw(20_000))),
            725..729 => self.pass(Duration::from_secs(self.draw(4 * self.lease_seconds + 60))),
            729..735 => self.sleep_at_once(),
            735..743 => self.step_wall(),
            743..770 => self.break_something(),
            770..778 => self.revoke(),
            778..830 => self.mend_something(),
            830..880 => self.switch(),
            880..905 => self.create(),
            905..917 => self.drop_a_table(),
            917..941 => self.run_some(),
            941..947 => self.wait_for_the_disk(),
            947..957 => {
                let sync = 1 + self.draw(20);
                self.say(format!("the disk goes down at sync {sync}"));
                self.disk.go_down_at_sync(sync);
            }
            957..963 => self.restart(),
            963..973 => self.crash(),
            973..975 => self.put_an_old_root_back(),
            975..978 => self.peace(),
            _ => self.storm(),
        }
        if self.draw(3) > 0 {
            self.env.run_ready();
        }
        self.hear();
        if self.disk.is_down() || self.is_over {
            self.crash();
        }
        self.check(wall_before);
    }

    /// Some of the work that is ready is done; what is left is half done when the clock jumps or a key goes.
    fn run_some(&mut self) {
        self.env.run_some(self.draw(30));
        match self.draw(4) {
            0 => self.sleep_at_once(),
            1 => self.break_something(),
            2 => self.revoke(),
            _ => {}
        }
    }

    /// What is written stands in the log and is not durable yet, while keys go, clocks jump and the server dies. Less than a client waits.
    fn wait_for_the_disk(&mut self) {
        self.say("the log's syncs wait".into());
        self.disk.hold_log_syncs(true);
        for _ in 0..1 + self.draw(4) {
            match self.draw(4) {
                0 => self.compare(),
                _ => self.write_some(),
            }
        }
        self.env.run_some(self.draw(30));
        match self.draw(6) {
            0 => self.sleep_at_once(),
            1 => self.break_something(),
            2 => self.revoke(),
            3 => self.switch(),
            4 => self.drop_a_table(),
            _ => self.storm(),
        }
        self.pass(Duration::from_millis(self.draw(1_000)));
        if self.draw(6) == 0 {
            self.crash();
        }
        self.say("the log is synced".into());
        self.disk.hold_log_syncs(false);
        // What has waited so long does not wait for the next one, too.
        self.env.run_ready();
    }

    /// Much at once.
    fn storm(&mut self) {
        for _ in 0..3 + self.draw(8) {
            match self.draw(13) {
                0..4 => self.write_some(),
                12 => self.compare(),
                4 => self.count(),
                5..9 => self.read_some(),
                9 => self.tidy(),
                10 => self.switch(),
                _ => self.break_something(),
            }
        }
    }

    // Clocks.

    pub fn pass(&mut self, duration: Duration) {
        self.say(format!("{duration:?} pass"));
        self.env.advance(duration);
    }

    /// The machine is suspended and wakes later.
    fn sleep_at_once(&mut self) {
        let duration = match self.draw(3) {
            0 => Duration::from_secs(self.draw(3)),
            1 => Duration::from_secs(self.draw(2 * self.lease_seconds)),
            _ => Duration::from_secs(self.draw(6 * 3600)),
        };
        self.jump(duration);
        self.env.advance(Duration::ZERO);
    }

    fn jump(&mut self, duration: Duration) {
        self.say(format!("the machine sleeps for {duration:?}"));
        self.jumped_at = self.flow();
        self.env.jump(duration);
        self.jumped += duration.as_nanos() as u64;
        self.clock_moves += 1;
    }

    fn step_wall(&mut self) {
        let size = match self.draw(3) {
            0 => self.draw(5_000_000),
            1 => self.draw(2 * self.lease_seconds * 1_000_000),
            _ => self.draw(6 * 3_600_000_000),
        } as i64;
        let micros = [size, -size][self.draw(2) as usize];
        self.say(format!("the wall clock steps by {micros} us"));
        self.jumped_at = self.flow();
        self.env.step_wall(micros);
        self.clock_moves += 1;
    }

    // The key service.

    fn some_scope(&self) -> Scope {
        let key = |world: &World| -> CmkRef { key(world.draw(KEYS + 1)) };
        match self.draw(10) {
            0 => Scope::Everything,
            1..6 => Scope::Key(key(self)),
            _ => {
                let tables: Vec<(CmkRef, String)> = self
                    .tables
                    .values()
                    .filter_map(|kept| Some((kept.cmks.last()?.clone(), kept.name.clone())))
                    .collect();
                match self.pick(&tables) {
                    Some((cmk, name)) => Scope::Table(cmk, name),
                    None => Scope::Key(key(self)),
                }
            }
        }
    }

    fn break_something(&mut self) {
        let scope = self.some_scope();
        let of_tables = |(scope, _): &&(Scope, Trouble)| matches!(scope, Scope::Table(..));
        if matches!(scope, Scope::Table(..)) && self.faults.iter().filter(of_tables).count() >= 3 {
            return;
        }
        let denied = [
            DenialReason::Disabled,
            DenialReason::PendingDeletion,
            DenialReason::NotFound,
            DenialReason::AccessDenied,
            DenialReason::GrantRevoked,
        ];
        let silent = [UnavailableReason::Unreachable, UnavailableReason::Throttled];
        let trouble = match (self.draw(10), &scope) {
            (0..3, Scope::Table(..)) => Trouble::Acts(Behavior::Tampered),
            // What is silent is silent for every table.
            (_, Scope::Table(..)) => {
                Trouble::Acts(Behavior::Denied(denied[3 + self.draw(2) as usize]))
            }
            (0, Scope::Key(_)) => Trouble::Slow,
            (0..2, _) => Trouble::Acts(Behavior::Held),
            (2, Scope::Key(_)) => Trouble::Acts(Behavior::Tampered),
            (3..5, _) | (_, Scope::Everything) => {
                Trouble::Acts(Behavior::Unavailable(silent[self.draw(2) as usize]))
            }
            _ => Trouble::Acts(Behavior::Denied(denied[self.draw(5) as usize])),
        };
        self.say(format!("{scope:?} is in trouble: {trouble:?}"));
        self.set_fault(scope, Some(trouble));
    }

    /// The owner of a key takes back what lets the server use it for one table.
    fn revoke(&mut self) {
        let Some(table) = self.some_customer_table() else {
            return;
        };
        let kept = &self.tables[&table];
        let own = context(&kept.name);
        let mut revoked = 0;
        for cmk in &kept.cmks {
            for (grant, request) in self.service.script.grants_of(cmk) {
                let opens = request.operations.contains(&GrantOperation::Decrypt);
                if request.context == own && opens {
                    self.service.script.revoke(&grant);
                    revoked += 1;
                }
            }
        }
        if revoked > 0 {
            self.say(format!("{revoked} grants for {table} are revoked"));
            let number = self.revocations;
            self.revocations += 1;
            self.tables.get_mut(&table).expect("it was picked").revoked = Some(number);
            self.note_fine();
        }
    }

    /// A table whose grant was revoked is put under its key again.
    fn repair_a_grant(&mut self) {
        let revoked: Vec<(Table, CmkRef)> = self
            .tables
            .iter()
            .filter(|(_, kept)| kept.revoked.is_some())
            .map(|(table, kept)| (*table, kept.cmks[0].clone()))
            .collect();
        if let Some((table, cmk)) = self.pick(&revoked) {
            self.switch_to(table, cmk);
        }
    }

    fn mend_something(&mut self) {
        if self.draw(3) == 0 {
            self.repair_a_grant();
        }
        let scopes: Vec<Scope> = self.faults.iter().map(|(scope, _)| scope.clone()).collect();
        match self.draw(4) {
            0 => scopes
                .into_iter()
                .for_each(|scope| self.set_fault(scope, None)),
            _ => {
                if let Some(scope) = self.pick(&scopes) {
                    self.say(format!("{scope:?} works again"));
                    self.set_fault(scope, None);
                }
            }
        }
    }

    // How a life ends.

    fn restart(&mut self) {
        self.say("the server stops and starts".into());
        self.is_stopping = true;
        let closed = self.env.run(self.life.engine.close());
        self.hear();
        self.is_stopping = false;
        if let Err(error) = closed
            && !self.disk.is_down()
        {
            self.fail(format!("the engine does not close: {error}"));
        }
        self.next_life(Crash::Kill);
    }

    pub fn crash(&mut self) {
        self.hear();
        let crash = match self.draw(3) {
            0 => Crash::Kill,
            _ => Crash::PowerLoss {
                seed: self.draw(u64::MAX),
            },
        };
        self.say(format!("{crash:?}"));
        self.next_life(crash);
    }

    /// Somebody puts one table's root back as it stood before a switch: the table says so, and nobody else is hurt. Then the right one comes back.
    fn put_an_old_root_back(&mut self) {
        self.crash();
        // What the start itself changes of roots is done.
        self.env.run_ready();
        let mut found = None;
        for (table, kept) in &self.tables {
            let old = self.old_roots.get(&kept.id);
            let path = self.root_path(kept.id);
            if let (Some(old), Some(path)) = (old, path) {
                found = Some((*table, kept.id, old.clone(), path));
            }
        }
        let Some((table, id, old, path)) = found else {
            return;
        };
        let right = self.disk.contents(&path);
        let is_older = self
            .life
            .engine
            .root(id)
            .is_some_and(|root| root.version > 1)
            && right.as_ref() != Some(&old)
            // A crash may have come between the new root and its record, which is made when the table next opens: until then nothing but the root tells.
            && self.env.run(self.life.engine.is_settled(id));
        if !is_older {
            return;
        }
        self.say(format!("an old root of {table} is put back"));
        self.hear();
        self.env.drop_tasks();
        self.disk.crash(Crash::Kill);
        self.disk.replace(&path, Some(old));
        self.next_life(Crash::Kill);
        let has_root = self.life.engine.root(id).is_some();
        let opening = self.life.keeper.clone();
        let opened = self
            .env
            .run(async move { opening.ensure(id, &Asker::server()).await });
        if has_root || opened.is_ok() {
            self.fail(format!("an old root of {table} was taken for good"));
        }
        self.hear();
        self.env.drop_tasks();
        self.disk.crash(Crash::Kill);
        self.disk.replace(&path, right);
        self.next_life(Crash::Kill);
    }

    /// The last step: what was ever acknowledged is there.
    pub fn end(&mut self) {
        let wall_before = self.now().wall_micros;
        self.crash();
        self.peace();
        if let Some(number) = self.requests.keys().next()
            && !self.is_over
        {
            self.fail(format!("#{number} is not answered, and nothing is wrong"));
        }
        self.check(wall_before);
    }

    /// Everything works for a minute; then every table is read in full.
    pub fn peace(&mut self) {
        let scopes: Vec<Scope> = self.faults.iter().map(|(scope, _)| scope.clone()).collect();
        for scope in scopes {
            self.set_fault(scope, None);
        }
        self.say("peace".into());
        self.pass(Duration::from_secs(60));
        self.hear();
        if self.disk.is_down() || self.is_over {
            return;
        }
        let tables: Vec<Table> = self.tables.keys().copied().collect();
        for table in tables {
            for store in self.readable(table) {
                self.read(table, Wanted::everything(store));
            }
        }
        self.pass(Duration::from_secs(5));
        self.hear();
        if !self.disk.is_down() && !self.is_over {
            self.check_rewritten();
            if self.has_grants && self.draw(2) == 0 {
                self.settle_grants();
            }
        }
    }

    /// What could not be retired is tried again, at last after an hour.
    fn settle_grants(&mut self) {
        for _ in 0..2 {
            self.jump(Duration::from_secs(2 * 3600));
            self.pass(Duration::from_secs(30));
            self.hear();
        }
        if !self.disk.is_down() && !self.is_over {
            self.check_grants();
        }
    }
}
