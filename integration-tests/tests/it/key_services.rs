//! A key is taken away, and given back: one story, told with each key service.
//!
//! ```text
//! tables        locked (first key)       neighbour (second key)        own (the service's own key)
//! first away    refused, all of it       serves                        serves
//!   killed, started                      serves                        serves
//! first back    everything is there
//! switched      locked leaves the first key for a third; the first goes for good
//! service gone  Unavailable when the leases have ended                 serves
//!   killed, started: the port opens                                    serves
//! service back  everything is there
//! ```

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use palladium_integration_tests::node::{Node, Settings};
use palladium_integration_tests::owners::vault::{Dev, Double, Service, TakeAway};
use palladium_integration_tests::owners::{
    AwsGrantsOwner, AwsPolicyOwner, Fakecloud, KeyringOwner, Owner, PyKmip, SoftHsm, VaultOwner,
};
use palladium_integration_tests::raw::{Answer, Connection, code};

use crate::load::Load;
use crate::rows::{Place, grid, make_keyspace, make_table, read_all, text, versions, write_all};

/// The shortest lease there is, in seconds.
const LEASE_SHORT_S: u64 = 10;
/// The longest, and the default: by the flag for long versions.
const LEASE_LONG_S: u64 = 300;

#[test]
fn the_keyring() {
    tell(&mut KeyringOwner::by_state(), LEASE_SHORT_S);
}

#[test]
fn the_keyring_by_scheduled_deletion() {
    tell(&mut KeyringOwner::by_deletion(), LEASE_SHORT_S);
}

#[test]
fn the_keyring_by_its_grants() {
    tell(&mut KeyringOwner::by_grants(), LEASE_SHORT_S);
}

#[test]
fn the_keyring_under_leases_of_five_minutes() {
    if std::env::var_os("TESTS_LONG").is_some() {
        tell(&mut KeyringOwner::by_state(), LEASE_LONG_S);
    }
}

#[test]
fn kmip_with_pykmip() {
    tell(&mut PyKmip::start(), LEASE_SHORT_S);
}

#[test]
fn pkcs11_with_softhsm() {
    tell(
        &mut SoftHsm::start(env!("CARGO_BIN_EXE_token")),
        LEASE_SHORT_S,
    );
}

#[test]
fn aws_kms_by_policy() {
    tell(&mut AwsPolicyOwner::start(), LEASE_SHORT_S);
}

#[test]
fn aws_kms_by_grants() {
    tell(&mut AwsGrantsOwner::start(), LEASE_SHORT_S);
}

#[test]
fn aws_kms_with_fakecloud() {
    tell(&mut Fakecloud::start(), LEASE_SHORT_S);
}

/// The key leaves the policy that the server's token has.
#[test]
fn vault_by_its_policy() {
    tell(&mut vault(TakeAway::Policy), LEASE_SHORT_S);
}

/// The version of the key, under which the table key was encrypted, is forbidden.
#[test]
fn vault_by_its_versions() {
    tell(&mut vault(TakeAway::Version), LEASE_SHORT_S);
}

#[test]
fn a_real_vault() {
    if std::env::var_os("TESTS_LONG").is_some() {
        for take_away in [TakeAway::Policy, TakeAway::Version] {
            let vault = Service::Dev(Dev::start());
            tell(&mut VaultOwner::new(vault, take_away), LEASE_SHORT_S);
        }
    }
}

fn vault(take_away: TakeAway) -> VaultOwner {
    VaultOwner::new(Service::Double(Double::start()), take_away)
}

/// The whole story.
pub fn tell(owner: &mut dyn Owner, lease_s: u64) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime can be built");
    runtime.block_on(async {
        let mut story = Story::begin(owner, lease_s).await;
        story.the_first_key_is_taken_away().await;
        story.node.kill();
        story.node.restart();
        story.the_first_key_is_given_back().await;
        story.the_table_leaves_its_key().await;
        story.the_service_goes_away().await;
        story.node.stop();
        story.node.verify().must_succeed("verify");
    });
}

struct Story<'a> {
    owner: &'a mut dyn Owner,
    node: Node,
    /// How long something is waited for that the end of a lease brings about: the lease, a retry in the background, and a slow machine.
    patience: Duration,
    first: String,
}

impl Story<'_> {
    /// Three tables, each with half of its rows on disk and half in memory and in the log.
    async fn begin(owner: &mut dyn Owner, lease_s: u64) -> Story<'_> {
        let node = Node::start_with(Settings {
            config: format!("key_lease_s = {lease_s}\n{}", owner.settings()),
            environment: owner.environment(),
            ..Settings::default()
        });
        let first = owner.create_key(&node, "first");
        let second = owner.create_key(&node, "second");
        let mut connection = node.connect().await;
        make_keyspace(&mut connection, "ks").await;
        for (table, key) in [
            ("locked", first.as_str()),
            ("neighbour", &second),
            ("own", "default"),
        ] {
            make_table(
                &mut connection,
                &format!("ks.{table}"),
                &format!("encryption = {{'kms_key': '{key}'}}"),
            )
            .await;
            write_all(&mut connection, &format!("ks.{table}"), grid(50, 20), 1).await;
        }
        node.flush();
        write_all(&mut connection, "ks.locked", grid(25, 20), 2).await;
        let nowhere = first.replace("first", "nowhere");
        if nowhere != first {
            let statement = format!(
                "CREATE TABLE ks.u (k int PRIMARY KEY) WITH encryption = {{'kms_key': '{nowhere}'}}"
            );
            let (code, message) = connection
                .query(&statement)
                .await
                .expect("the connection holds")
                .refusal();
            assert_eq!(code, code::INVALID, "{statement}: {message}");
        }
        Story {
            owner,
            node,
            patience: Duration::from_secs(lease_s + 50),
            first,
        }
    }

    async fn the_first_key_is_taken_away(&mut self) {
        let mut connection = self.node.connect().await;
        let neighbour = Load::start(&self.node, "ks.neighbour");
        neighbour.wait_for(1000).await;
        let before_us = neighbour.lap_p99_us();
        self.owner.take_away(&self.node, &self.first);
        let message = self
            .wait_for_refusal(&mut connection, "ks.locked", code::UNAUTHORIZED)
            .await;
        let (key, reason) = (
            format!("key={}", self.first),
            format!("reason={}", self.owner.reason()),
        );
        for words in [
            "KMS_KEY_INACCESSIBLE",
            "table=ks.locked",
            "since=",
            &key,
            &reason,
        ] {
            assert!(message.contains(words), "{words} is not in: {message}");
        }
        // Writes, scans, conditions and batches are refused as reads are; a batch that touches the table changes nothing elsewhere.
        for statement in [
            "INSERT INTO ks.locked (p, c, v) VALUES (1, 1, 0x00)",
            "SELECT * FROM ks.locked",
            "SELECT count(*) FROM ks.locked",
            "DELETE FROM ks.locked WHERE p = 1",
            "INSERT INTO ks.locked (p, c, v) VALUES (1, 1, 0x00) IF NOT EXISTS",
            "BEGIN BATCH INSERT INTO ks.neighbour (p, c, v) VALUES (999, 1, 0x00); INSERT INTO ks.locked (p, c, v) VALUES (1, 1, 0x00); APPLY BATCH",
        ] {
            let (code, message) = connection
                .query(statement)
                .await
                .expect("the connection holds")
                .refusal();
            assert_eq!(code, code::UNAUTHORIZED, "{statement}: {message}");
        }
        let half_a_batch = connection
            .run("SELECT * FROM ks.neighbour WHERE p = 999")
            .await
            .rows();
        assert!(
            half_a_batch.is_empty(),
            "a refused batch was applied in part"
        );
        let shown = connection.run("SELECT status FROM system_schema_mcs.tables WHERE keyspace_name = 'ks' AND table_name = 'locked'").await.rows();
        assert_eq!(text(&shown[0][0]), "INACCESSIBLE_ENCRYPTION_CREDENTIALS");
        neighbour.wait_for(1000).await;
        println!(
            "the neighbour's p99: {before_us} us before, {} us while its sister was locked",
            neighbour.lap_p99_us()
        );
        assert_eq!(
            neighbour.stop().await,
            Vec::<String>::new(),
            "the neighbour noticed"
        );
    }

    /// After a kill: the server started while the key was away.
    async fn the_first_key_is_given_back(&mut self) {
        let mut connection = self.node.connect().await;
        assert_eq!(read_all(&mut connection, "ks.neighbour").await.len(), 1000);
        self.wait_for_refusal(&mut connection, "ks.locked", code::UNAUTHORIZED)
            .await;
        self.owner.give_back(&self.node, &self.first);
        let newest = grid(50, 20).map(|place| (place, if place.0 < 25 { 2 } else { 1 }));
        self.wait_for_rows(&mut connection, "ks.locked", newest.collect())
            .await;
        write_all(&mut connection, "ks.locked", grid(50, 20), 3).await;
    }

    /// Once ALTER has answered, the old key is not needed.
    async fn the_table_leaves_its_key(&mut self) {
        let mut connection = self.node.connect().await;
        let third = self.owner.create_key(&self.node, "third");
        connection
            .run(&format!(
                "ALTER TABLE ks.locked WITH encryption = {{'kms_key': '{third}'}}"
            ))
            .await;
        self.owner.take_away(&self.node, &self.first);
        self.node.kill();
        self.node.restart();
        let mut connection = self.node.connect().await;
        let rows = versions_of(&read_all(&mut connection, "ks.locked").await);
        assert_eq!(
            rows,
            grid(50, 20).map(|place| (place, 3)).collect(),
            "rows without the old key"
        );
    }

    /// No answer is no denial: the lease runs to its end, and drivers may try again.
    async fn the_service_goes_away(&mut self) {
        if !self.owner.go_away() {
            return;
        }
        let mut connection = self.node.connect().await;
        let own = Load::start(&self.node, "ks.own");
        let message = self
            .wait_for_refusal(&mut connection, "ks.locked", code::UNAVAILABLE)
            .await;
        assert!(message.contains("reason=Unreachable"), "{message}");
        self.wait_for_refusal(&mut connection, "ks.neighbour", code::UNAVAILABLE)
            .await;
        assert_eq!(
            own.stop().await,
            Vec::<String>::new(),
            "a table of another service noticed"
        );
        self.node.kill();
        self.node.restart();
        let mut connection = self.node.connect().await;
        assert_eq!(read_all(&mut connection, "ks.own").await.len(), 1000);
        self.wait_for_refusal(&mut connection, "ks.locked", code::UNAVAILABLE)
            .await;
        self.owner.come_back();
        self.wait_for_rows(
            &mut connection,
            "ks.locked",
            grid(50, 20).map(|place| (place, 3)).collect(),
        )
        .await;
        assert_eq!(read_all(&mut connection, "ks.neighbour").await.len(), 1000);
    }

    /// Reads one row until its table refuses in this way; gives the refusal's text.
    async fn wait_for_refusal(
        &self,
        connection: &mut Connection,
        table: &str,
        wanted: i32,
    ) -> String {
        let deadline = Instant::now() + self.patience;
        let statement = format!("SELECT p, c, v FROM {table} WHERE p = 1 AND c = 1");
        loop {
            match connection
                .query(&statement)
                .await
                .expect("the connection holds")
            {
                Answer::Refused { code, message } => {
                    assert_eq!(code, wanted, "{message}");
                    return message;
                }
                answer => assert_eq!(
                    versions(&answer.rows()).len(),
                    1,
                    "a row went missing instead of being refused"
                ),
            }
            assert!(
                Instant::now() < deadline,
                "{table} has no key and still answers"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Reads everything until it is not refused any more; then it must be exactly this.
    async fn wait_for_rows(
        &self,
        connection: &mut Connection,
        table: &str,
        wanted: BTreeMap<Place, u64>,
    ) {
        let deadline = Instant::now() + self.patience;
        let statement = format!("SELECT p, c, v FROM {table}");
        let rows = loop {
            match connection
                .query_all(&statement, 1000)
                .await
                .expect("the connection holds")
            {
                Answer::Rows(rows) => break rows.rows,
                refusal => assert!(
                    Instant::now() < deadline,
                    "the key is back and {table} is not: {refusal:?}"
                ),
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        };
        assert_eq!(
            versions_of(&versions(&rows)),
            wanted,
            "rows after the key came back"
        );
    }
}

fn versions_of(rows: &[(Place, u64)]) -> BTreeMap<Place, u64> {
    rows.iter().copied().collect()
}
