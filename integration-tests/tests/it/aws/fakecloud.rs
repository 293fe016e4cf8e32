//! The states of keys in somebody else's implementation of KMS, and a table that stays with the key that its alias meant.

use palladium_crypto::DenialReason;
use palladium_integration_tests::node::{Node, Settings};
use palladium_integration_tests::owners::{AwsPolicyOwner, Fakecloud, Owner};
use palladium_integration_tests::raw::Connection;
use serde_json::json;

use super::{AMERICA, EUROPE, context, denial, is_tampered, key, open, with, wrapped};
use crate::rows::{grid, make_keyspace, make_table, read_all, text, write_all};

#[tokio::test]
async fn fakecloud_knows_the_states_of_keys() {
    let cloud = Fakecloud::start();
    let kms = open(cloud.table()).await;
    for region in [AMERICA, EUROPE] {
        let name = cloud.new_key(region);
        let ours = key(&name);
        assert_eq!(name.split(':').nth(3), Some(region));
        let blob = wrapped(&*kms, &ours, "t").await;
        let by_owner =
            |operation, more| cloud.call(region, operation, &with(json!({ "KeyId": name }), more));

        assert!(
            is_tampered(kms.decrypt(&ours, &blob, &context("u")).await.outcome),
            "another table's context"
        );
        let other = key(&cloud.new_key(region));
        assert!(
            is_tampered(kms.decrypt(&other, &blob, &context("t")).await.outcome),
            "another key"
        );
        let mut changed = blob.clone();
        let end = changed.len() - 1;
        changed[end] ^= 1;
        assert!(
            is_tampered(kms.decrypt(&ours, &changed, &context("t")).await.outcome),
            "a flipped byte"
        );

        by_owner("DisableKey", json!({}));
        let reply = kms.decrypt(&ours, &blob, &context("t")).await;
        assert!(reply.request_id.is_some());
        assert_eq!(denial(reply.outcome), DenialReason::Disabled);
        assert_eq!(
            denial(kms.generate_data_key(&ours, &context("t")).await.outcome),
            DenialReason::Disabled
        );
        assert_eq!(
            kms.describe(&ours)
                .await
                .outcome
                .expect("it can be looked at")
                .denial,
            Some(DenialReason::Disabled)
        );
        by_owner("EnableKey", json!({}));
        kms.decrypt(&ours, &blob, &context("t"))
            .await
            .outcome
            .expect("the key is back");

        by_owner("ScheduleKeyDeletion", json!({ "PendingWindowInDays": 7 }));
        assert_eq!(
            denial(kms.decrypt(&ours, &blob, &context("t")).await.outcome),
            DenialReason::PendingDeletion
        );
        assert_eq!(
            kms.describe(&ours)
                .await
                .outcome
                .expect("it can be looked at")
                .denial,
            Some(DenialReason::PendingDeletion)
        );
        // As with AWS, a key whose deletion is cancelled stays disabled until somebody enables it.
        by_owner("CancelKeyDeletion", json!({}));
        assert_eq!(
            denial(kms.decrypt(&ours, &blob, &context("t")).await.outcome),
            DenialReason::Disabled
        );
        by_owner("EnableKey", json!({}));
        kms.decrypt(&ours, &blob, &context("t"))
            .await
            .outcome
            .expect("the key is back");

        let alias = key(&format!(
            "{}:alias/orders",
            name.rsplit_once(':').expect("an ARN has parts").0
        ));
        assert_eq!(
            denial(kms.describe(&alias).await.outcome),
            DenialReason::NotFound
        );
        cloud.call(
            region,
            "CreateAlias",
            &json!({ "AliasName": "alias/orders", "TargetKeyId": name }),
        );
        assert_eq!(
            kms.describe(&alias)
                .await
                .outcome
                .expect("it leads to the key")
                .key,
            ours
        );
        let nowhere = key(&format!(
            "{}:key/00000000-0000-0000-0000-000000000000",
            name.rsplit_once(':').expect("an ARN has parts").0
        ));
        assert_eq!(
            denial(kms.decrypt(&nowhere, &blob, &context("t")).await.outcome),
            DenialReason::NotFound
        );
    }
}

#[test]
fn a_table_stays_with_the_key_that_its_alias_meant() {
    let mut owner = AwsPolicyOwner::start();
    let mut node = Node::start_with(Settings {
        config: format!("key_lease_s = 10\n{}", owner.settings()),
        ..Settings::default()
    });
    let (first, second) = (
        owner.create_key(&node, "first"),
        owner.create_key(&node, "third"),
    );
    let alias = format!("arn:aws:kms:{EUROPE}:111122223333:alias/orders");
    owner.0.set_alias(&alias, &first);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be built");
    runtime.block_on(async {
        let mut connection = Connection::open(node.address())
            .await
            .expect("the server is ready");
        make_keyspace(&mut connection, "ks").await;
        make_table(
            &mut connection,
            "ks.t",
            &format!("encryption = {{'kms_key': '{alias}'}}"),
        )
        .await;
        write_all(&mut connection, "ks.t", grid(10, 10), 1).await;
        // The alias goes to another key; that key is taken away, and the first one serves.
        owner.0.set_alias(&alias, &second);
        owner.take_away(&node, &second);
    });
    node.flush();
    node.kill();
    node.restart();
    runtime.block_on(async {
        let mut connection = Connection::open(node.address()).await.expect("the server is ready");
        assert_eq!(read_all(&mut connection, "ks.t").await.len(), 100);
        let shown = connection.run("SELECT kms_key FROM system_palladium.tables WHERE keyspace_name = 'ks' AND table_name = 't'").await.rows();
        assert_eq!(text(&shown[0][0]), first);
        // To the alias once more: now it means the other key.
        owner.give_back(&node, &second);
        connection.run(&format!("ALTER TABLE ks.t WITH encryption = {{'kms_key': '{alias}'}}")).await;
        let shown = connection.run("SELECT kms_key FROM system_palladium.tables WHERE keyspace_name = 'ks' AND table_name = 't'").await.rows();
        assert_eq!(text(&shown[0][0]), second);
        owner.take_away(&node, &first);
        assert_eq!(read_all(&mut connection, "ks.t").await.len(), 100);
    });
    node.stop();
    node.verify().must_succeed("verify");
}
