//! The anchor is missing, damaged, of another cluster, or right.

use palladium_crypto::{
    Anchor, AnchorError, ClusterId, CmkRef, Lineage, Secret, TableId, TableKey,
};

const CLUSTER: ClusterId = ClusterId([0xc1; 16]);

fn service_key(cluster: ClusterId) -> TableKey {
    let cmk = CmkRef::parse("local:service").unwrap();
    TableKey::derive(
        &Secret::from_bytes([3; 32]),
        cluster,
        TableId([0; 16]),
        1,
        &cmk,
    )
}

fn anchor(epoch: u64) -> Anchor {
    Anchor {
        cluster: CLUSTER,
        incarnation: 2,
        epoch,
        log_sequence: epoch / 2,
        lineage: Lineage([epoch as u8; 16]),
    }
}

#[test]
fn the_newest_anchor_is_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("KEYRING.anchor");
    let key = service_key(CLUSTER);
    for epoch in [1, 2, u64::MAX] {
        anchor(epoch).write(&path, &key).unwrap();
        assert_eq!(Anchor::read(&path, CLUSTER, &key).unwrap(), anchor(epoch));
    }
}

#[test]
fn no_anchor_is_missing_and_not_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let read = Anchor::read(
        &folder.path().join("KEYRING.anchor"),
        CLUSTER,
        &service_key(CLUSTER),
    );
    assert!(matches!(read, Err(AnchorError::Missing)));
}

#[test]
fn an_anchor_of_another_cluster_is_named_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("KEYRING.anchor");
    anchor(1).write(&path, &service_key(CLUSTER)).unwrap();
    let ours = ClusterId([0xc2; 16]);
    let read = Anchor::read(&path, ours, &service_key(ours));
    assert!(matches!(read, Err(AnchorError::OtherCluster { found, .. }) if found == CLUSTER));
}

#[test]
fn an_anchor_signed_under_another_service_key_is_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("KEYRING.anchor");
    anchor(1)
        .write(&path, &service_key(ClusterId([0xc2; 16])))
        .unwrap();
    let read = Anchor::read(&path, CLUSTER, &service_key(CLUSTER));
    assert!(matches!(read, Err(AnchorError::Damaged(_))));
}

#[test]
fn every_flipped_bit_and_every_cut_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("KEYRING.anchor");
    let key = service_key(CLUSTER);
    anchor(1).write(&path, &key).unwrap();
    let whole = std::fs::read(&path).unwrap();
    for bit in 0..whole.len() * 8 {
        let mut changed = whole.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(&path, &changed).unwrap();
        assert!(Anchor::read(&path, CLUSTER, &key).is_err(), "bit {bit}");
    }
    for length in (0..whole.len()).chain([whole.len() + 1]) {
        let mut cut = whole.clone();
        cut.resize(length, 0);
        std::fs::write(&path, &cut).unwrap();
        let read = Anchor::read(&path, CLUSTER, &key);
        assert!(
            matches!(read, Err(AnchorError::Damaged(_))),
            "length {length}"
        );
    }
}
