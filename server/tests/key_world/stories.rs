//! Stories that need a disk which takes its time, or a key service that does: what was appended to the log and is not durable yet holds its table open for whoever would
//! close it, and an answer may come when the lease that it begins is over.

use std::time::Duration;

use palladium::keys::TableKeyStatus;
use palladium_crypto::{Behavior, DenialReason, Operation, TableId, UnavailableReason};
use palladium_storage::{Crash, Store};

use crate::client::{Said, Wanted};
use crate::leases::Terms;
use crate::values::Table;
use crate::world::{Scope, Trouble, World, key};

const LEASE: Terms = Terms {
    lease_seconds: 300,
    grace_seconds: 0,
};

/// A world in which nothing happens by itself, and tables under one key.
fn world_with<const COUNT: usize>(names: [&str; COUNT]) -> (World, [Table; COUNT]) {
    let mut world = World::under(1, LEASE, false);
    let tables = names.map(|name| world.create_as(name.into(), key(0)));
    world.pass(Duration::from_secs(5));
    world.hear();
    assert!(tables.iter().all(|table| is_open(&world, *table)));
    (world, tables)
}

fn id(world: &World, table: Table) -> TableId {
    world.tables[&table].id
}

fn is_open(world: &World, table: Table) -> bool {
    world.life.engine.lease_alive(id(world, table))
}

fn take_the_key_away(world: &mut World) {
    let disabled = Trouble::Acts(Behavior::Denied(DenialReason::Disabled));
    world.set_fault(Scope::Key(key(0)), Some(disabled));
}

/// A write of one row that stands in the log when this returns, and is not durable before the disk is let go.
fn appended(world: &mut World, table: Table) -> u64 {
    world.disk.hold_log_syncs(true);
    let write = world.write(vec![(table, (0, 0), false)]);
    world.env.run_ready();
    assert!(!has_heard(world, write));
    write
}

fn heard<T>(world: &World, request: u64, look: impl Fn(&Said) -> Option<T>) -> Option<T> {
    let heard = world.heard();
    let heard = heard.lock().unwrap();
    let mut mine = heard.iter().filter(|one| one.request == request);
    mine.find_map(|one| look(&one.said))
}

/// Whether a write has heard more than that it goes to the log.
fn has_heard(world: &World, write: u64) -> bool {
    let is_answer = |said: &Said| (!matches!(said, Said::Submitted)).then_some(());
    heard(world, write, is_answer).is_some()
}

/// A table of which a write is in the log, not durable, and whose key is gone: it is refused to everybody. Gives the write.
fn locked_under_a_write(world: &mut World, orders: Table, invoices: Table) -> u64 {
    let write = appended(world, orders);
    take_the_key_away(world);
    // Somebody else asks for the key, and hears it.
    world.switch_to(invoices, key(0));
    world.pass(Duration::from_secs(1));
    assert!(!is_open(world, orders));
    let late = world.write(vec![(orders, (0, 1), false)]);
    world.pass(Duration::from_secs(1));
    let refusal = heard(world, late, |said| match said {
        Said::Written(Err(error)) => Some(error.message.clone()),
        _ => None,
    });
    assert!(refusal.is_some_and(|told| told.ends_with("reason=Disabled")));
    assert!(!has_heard(world, write));
    write
}

#[test]
fn a_write_whose_table_is_locked_between_append_and_sync_is_acknowledged_and_there_when_the_key_is_back()
 {
    let (mut world, [orders, invoices]) = world_with(["orders", "invoices"]);
    let write = locked_under_a_write(&mut world, orders, invoices);
    world.disk.hold_log_syncs(false);
    world.pass(Duration::from_secs(1));
    let is_acknowledged = |said: &Said| matches!(said, Said::Written(Ok(()))).then_some(());
    assert!(heard(&world, write, is_acknowledged).is_some());
    assert!(world.life.engine.lease(id(&world, orders)).is_none());
    // All keys are given back, and what was acknowledged is looked for in every store.
    world.end();
}

#[test]
fn a_write_whose_sync_fails_under_a_lock_has_timed_out_and_is_there_as_a_whole_or_not_at_all() {
    for crash in [Crash::Kill, Crash::PowerLoss { seed: 3 }] {
        let (mut world, [orders, invoices]) = world_with(["orders", "invoices"]);
        let write = locked_under_a_write(&mut world, orders, invoices);
        world.disk.fail_syncs(1);
        world.disk.hold_log_syncs(false);
        world.pass(Duration::from_secs(1));
        let timeout = heard(&world, write, |said| match said {
            Said::Unsure(error) => Some(error.code()),
            _ => None,
        });
        assert_eq!(timeout, Some(palladium_protocol::ErrorCode::WriteTimeout));
        world.hear();
        world.next_life(crash);
        world.end();
    }
}

#[test]
fn a_service_whose_answers_take_longer_than_a_lease_is_unreachable_and_not_asked_for_ever() {
    let terms = Terms {
        lease_seconds: 1,
        grace_seconds: 0,
    };
    let mut world = World::under(1, terms, false);
    let orders = world.create_as("orders".into(), key(0));
    world.pass(Duration::from_secs(5));
    world.hear();
    assert!(!is_open(&world, orders));
    let before = world.service.begun();
    world
        .service
        .set_slow(&key(0), Some(Duration::from_millis(1_500)));
    world.read(orders, Wanted::everything(Store::BASE));
    world.pass(Duration::from_secs(10));
    world.hear();
    let status = world.life.keeper.status(id(&world, orders));
    let TableKeyStatus::Inaccessible(trouble) = status else {
        panic!("it is shown as {status:?}");
    };
    assert_eq!(trouble.reason.to_string(), "Unreachable");
    // Once more, as after a night's sleep of the machine.
    assert_eq!(world.service.begun(), before + 2);
    world.service.set_slow(&key(0), None);
    world.end();
}

#[test]
fn a_grant_that_was_asked_for_and_never_made_says_nothing_of_the_one_that_is_needed() {
    let mut world = World::under(1, LEASE, true);
    let orders = world.create_as("orders".into(), key(0));
    world.pass(Duration::from_secs(5));
    world.hear();
    let silent = Behavior::Unavailable(UnavailableReason::Unreachable);
    let script = &world.service.script;
    script.set_operation(&key(0), Operation::CreateGrant, silent);
    world.switch_to(orders, key(0));
    world.pass(Duration::from_secs(5));
    world.service.script.set(&key(0), Behavior::Ok);
    world.hear();
    // It may have been made, and not be listed yet: it is looked for, for some minutes.
    assert_eq!(world.life.keeper.grants().len(), 4);
    world.check_grants();
    world.pass(Duration::from_secs(1_200));
    assert_eq!(world.life.keeper.grants().len(), 2);
    world.check_grants();
    world.end();
}

/// A world with a table whose switch to another key waits for that key's answer; the table, and the request.
fn switch_held_at_its_new_key() -> (World, Table, u64) {
    let mut world = World::under(1, LEASE, true);
    let orders = world.create_as("orders".into(), key(0));
    world.pass(Duration::from_secs(5));
    world.hear();
    let script = &world.service.script;
    script.set_operation(&key(1), Operation::Generate, Behavior::Held);
    let switch = world.requests_made;
    world.switch_to(orders, key(1));
    world.pass(Duration::from_secs(1));
    (world, orders, switch)
}

#[test]
fn a_table_that_may_be_found_under_either_key_after_a_switch_that_failed_has_grants_under_both() {
    let (mut world, orders, switch) = switch_held_at_its_new_key();
    // Its grants are noted, and what is next is the root: it is written, and nobody can say whether it will last.
    // What would put the old one back fails too, and is not tried again before the next life.
    world.disk.fail_syncs(3);
    world.service.script.set(&key(1), Behavior::Ok);
    world.pass(Duration::from_millis(500));
    let failure = heard(&world, switch, |said| match said {
        Said::Done(Err(error)) => Some(error.code()),
        _ => None,
    });
    assert_eq!(failure, Some(palladium_protocol::ErrorCode::ServerError));
    world.heard().lock().unwrap().clear();
    let root_of = |world: &World| world.life.engine.root(id(world, orders)).unwrap().cmk;
    assert_eq!(root_of(&world), key(0));
    world.next_life(Crash::Kill);
    assert_eq!(root_of(&world), key(1));
    world.read(orders, Wanted::everything(Store::BASE));
    world.pass(Duration::from_secs(5));
    world.hear();
    assert!(is_open(&world, orders));
    // Now that it is known, what is under the other key goes.
    world.end();
    world.check_grants();
}

#[test]
fn a_switch_that_failed_together_with_the_disk_is_undone_and_in_the_way_of_no_later_one() {
    let (mut world, orders, switch) = switch_held_at_its_new_key();
    world.disk.fail_syncs(2);
    world.service.script.set(&key(1), Behavior::Ok);
    world.pass(Duration::from_secs(60));
    let failed = |said: &Said| matches!(said, Said::Done(Err(_))).then_some(());
    assert!(heard(&world, switch, failed).is_some());
    world.heard().lock().unwrap().clear();
    world.requests.remove(&switch);
    world.tables.get_mut(&orders).unwrap().cmks.truncate(1);
    assert!(world.life.engine.is_root_sure(id(&world, orders)));
    // Nothing is under the other key, so that nothing stays granted there.
    let grants = world.life.keeper.grants();
    assert!(grants.iter().all(|grant| grant.key == key(0).to_string()));
    let again = world.requests_made;
    world.switch_to(orders, key(1));
    world.pass(Duration::from_secs(60));
    let outcome = heard(&world, again, |said| Some(format!("{said:?}")));
    assert_eq!(outcome.as_deref(), Some("Done(Ok(()))"));
    let root = world.life.engine.root(id(&world, orders)).unwrap();
    assert_eq!(root.cmk, key(1));
    world.hear();
    world.end();
    world.check_grants();
}

#[test]
fn a_denial_that_the_renewal_of_an_opening_meets_closes_its_siblings_before_the_opening_has_stopped()
 {
    let (mut world, [orders, invoices]) = world_with(["orders", "invoices"]);
    let decrypts = |world: &World| {
        world.service.newest_first(|calls| {
            let mine = calls.filter(|call| call.table.as_deref() == Some("invoices"));
            mine.filter(|call| call.operation == Operation::Decrypt)
                .count()
        })
    };
    let before = decrypts(&world);
    // Whoever opens the table waits for whoever closes it, and that one for the disk.
    appended(&mut world, orders);
    let (engine, closed) = (world.life.engine.clone(), id(&world, orders));
    world.life.spawn(async move { engine.lock(closed).await });
    world.env.run_ready();
    let read = world.read(orders, Wanted::everything(Store::BASE));
    world.pass(Duration::from_secs(2));
    take_the_key_away(&mut world);
    assert!(is_open(&world, invoices));
    // The opening's lease is renewed after 70 % of it at the latest; that of a table which nobody uses is let go after 90 %.
    world.pass(Duration::from_secs(LEASE.lease_seconds / 4 * 3));
    let is_answer = |said: &Said| matches!(said, Said::Done(_)).then_some(());
    assert!(
        heard(&world, read, is_answer).is_none(),
        "it is still opening"
    );
    assert!(world.life.engine.lease(id(&world, invoices)).is_none());
    assert_eq!(decrypts(&world), before, "it did not ask for itself");
    world.disk.hold_log_syncs(false);
    world.pass(Duration::from_secs(1));
    let refusal = heard(&world, read, |said| match said {
        Said::Done(Err(error)) => Some(error.message.clone()),
        _ => None,
    });
    assert!(refusal.is_some_and(|told| told.ends_with("reason=Disabled")));
}
