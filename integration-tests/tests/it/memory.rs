//! What a lock leaves in memory: nothing. The whole memory of a running server is searched, from outside, for everything that the test knows of a table: keys,
//! data keys, key schedules, values, partition keys, clusterings, literals, the bytes of its filters.
//!
//! A search that finds nothing proves nothing, so the same search comes before the lock too, and must find each kind.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use palladium::admin::folder::Folder;
use palladium::config::Config;
use palladium::keys::open_ring;
use palladium_crypto::{EncryptionContext, KeyRing, Keyring, Kms, Secret, StructureKind};
use palladium_integration_tests::chance::Chance;
use palladium_integration_tests::memory::{Find, Haystack, Needle};
use palladium_integration_tests::node::{Node, Settings, copy_folder};
use palladium_integration_tests::raw::{Answer, Connection, code};
use palladium_storage::sealed::{BLOB_HEADER_BYTES, SealedReader};
use palladium_storage::verify::WrappedStructure;
use palladium_storage::{Backend, Root};

use crate::derivation::{self, KEY_BYTES};
use crate::rows::{make_keyspace, text};

/// The shortest lease there is, in seconds.
const LEASE_S: u64 = 10;
/// How long the test waits for a lock: the lease, and a slow machine.
const LOCK_LIMIT: Duration = Duration::from_secs(6 * LEASE_S);
/// What DESIGN promises: from the lock on.
const WIPE_LIMIT: Duration = Duration::from_secs(5);

const SINGLE_ROW_PARTITIONS: usize = 2_000;
const LONG_PARTITION_ROWS: usize = 300;
const LITERALS: usize = 40;
const VECTORS: usize = 300;
const DIMENSIONS: usize = 8;
/// Method, kind, last token, number of keys, seed, lengths.
const FILTER_HEAD_BYTES: usize = 32;

/// What stands in a statement's text.
const LITERAL: &str = "literal";

/// A row of random bytes; each column is a needle.
struct Row {
    p: Vec<u8>,
    c: Vec<u8>,
    v: Vec<u8>,
    t: String,
}

impl Row {
    fn new(chance: &mut Chance) -> Row {
        Row {
            p: random(chance, 24),
            c: random(chance, 24),
            v: random(chance, 64),
            t: letters(chance, 32),
        }
    }

    fn values(&self) -> Vec<Vec<u8>> {
        vec![
            self.p.clone(),
            self.c.clone(),
            self.v.clone(),
            self.t.clone().into_bytes(),
        ]
    }

    fn needles(&self) -> [Needle; 4] {
        [
            ("partition key", self.p.clone()),
            ("clustering", self.c.clone()),
            ("value", self.v.clone()),
            ("text", self.t.clone().into_bytes()),
        ]
        .map(|(kind, bytes)| Needle { kind, bytes })
    }
}

/// No zeroes: an order-preserving encoding would put escapes between them.
fn random(chance: &mut Chance, bytes: usize) -> Vec<u8> {
    (0..bytes).map(|_| 1 + chance.below(254) as u8).collect()
}

fn letters(chance: &mut Chance, count: usize) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    (0..count)
        .map(|_| char::from(LETTERS[chance.below(LETTERS.len())]))
        .collect()
}

#[test]
fn five_seconds_after_a_lock_nothing_of_the_table_is_in_memory() {
    let mut chance =
        Chance::for_test("five_seconds_after_a_lock_nothing_of_the_table_is_in_memory");
    let node = Node::start_with(Settings {
        config: format!("key_lease_s = {LEASE_S}\n"),
        ..Settings::default()
    });
    for key in ["first", "second"] {
        node.key("create", key);
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be built");
    let mut needles = Vec::new();
    runtime.block_on(fill_and_read(&node, &mut chance, &mut needles));
    let locked = runtime.spawn(use_until_locked(node.address()));
    needles.extend(runtime.block_on(keys_of(&node)));
    let kinds: BTreeMap<&str, usize> = needles.iter().map(|needle| (needle.kind, 0)).collect();
    let haystack = Haystack::new(needles);

    let before = count(
        &haystack
            .search(node.pid())
            .expect("the test is root, and may read any process"),
        kinds.clone(),
    );
    println!("before the lock: {before:?}");
    for (kind, found) in &before {
        // A statement that was answered is gone already.
        assert!(
            *found > 0 || *kind == LITERAL,
            "no {kind} is in memory while the table is open: the search cannot find what it looks for"
        );
    }

    node.key("disable", "first");
    runtime
        .block_on(async { tokio::time::timeout(LOCK_LIMIT, locked).await })
        .expect("the key is disabled and its table is not locked")
        .expect("whoever uses the table hears of nothing but its lock");
    std::thread::sleep(WIPE_LIMIT);
    let finds = haystack
        .search(node.pid())
        .expect("the test is root, and may read any process");
    let (on_stacks, elsewhere): (Vec<Find>, Vec<Find>) =
        finds.into_iter().partition(|find| find.is_stack);
    println!(
        "after the lock, on stacks, of which nothing is promised: {:?}",
        count(&on_stacks, kinds.clone())
    );
    for find in elsewhere.iter().take(60) {
        println!("{find}");
    }
    assert!(
        elsewhere.is_empty(),
        "after the lock: {:?}",
        count(&elsewhere, kinds)
    );

    // It was taken away, not lost.
    node.key("enable", "first");
    runtime.block_on(async {
        let mut connection = node.connect().await;
        let deadline = Instant::now() + LOCK_LIMIT;
        while let Answer::Refused { .. } = connection
            .query("SELECT count(*) FROM ks.locked")
            .await
            .expect("the connection holds")
        {
            assert!(
                Instant::now() < deadline,
                "the key is back and the table is not"
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    });
}

fn count<'a>(finds: &[Find], mut kinds: BTreeMap<&'a str, usize>) -> BTreeMap<&'a str, usize> {
    for find in finds {
        *kinds.get_mut(find.kind).expect("every kind is listed") += 1;
    }
    kinds
}

/// Puts rows on every way that a row can take, and reads them on every way, until all caches hold some.
async fn fill_and_read(node: &Node, chance: &mut Chance, needles: &mut Vec<Needle>) {
    let mut connection = node.connect().await;
    make_keyspace(&mut connection, "ks").await;
    for (table, key) in [("ks.locked", "first"), ("ks.neighbour", "second")] {
        connection
            .run(&format!("CREATE TABLE {table} (p blob, c blob, v blob, t text, PRIMARY KEY (p, c)) WITH encryption = {{'kms_key': 'local:{key}'}}"))
            .await;
    }
    // What is written first goes through zstd's buffers, the rest through LZ4's; letters are what zstd shrinks of it.
    connection
        .run("ALTER TABLE ks.locked WITH compression = {'class': 'ZstdCompressor'}")
        .await;
    let mut rows: Vec<Row> = (0..SINGLE_ROW_PARTITIONS)
        .map(|_| Row::new(chance))
        .collect();
    let long = random(chance, 24);
    rows.extend((0..LONG_PARTITION_ROWS).map(|_| Row {
        p: long.clone(),
        ..Row::new(chance)
    }));

    let insert = connection
        .prepare("INSERT INTO ks.locked (p, c, v, t) VALUES (?, ?, ?, ?)")
        .await
        .expect("INSERT can be prepared");
    let select = connection
        .prepare("SELECT p, c, v, t FROM ks.locked WHERE p = ? AND c = ?")
        .await
        .expect("SELECT can be prepared");
    let sets: Vec<_> = rows.iter().map(Row::values).collect();
    for answer in connection
        .execute_all(&insert, &sets, 64)
        .await
        .expect("the connection holds")
    {
        answer.accepted();
    }
    node.flush();
    connection
        .run("ALTER TABLE ks.locked WITH compression = {'class': 'LZ4Compressor'}")
        .await;
    // A second SSTable, and a memtable: some rows are new there, some are written again.
    for flushes in [true, false] {
        let fresh: Vec<Row> = (0..SINGLE_ROW_PARTITIONS / 4)
            .map(|_| Row::new(chance))
            .collect();
        let again = rows.iter().step_by(7).map(|row| Row {
            p: row.p.clone(),
            c: row.c.clone(),
            ..Row::new(chance)
        });
        let more: Vec<Row> = again.chain(fresh).collect();
        let sets: Vec<_> = more.iter().map(Row::values).collect();
        for answer in connection
            .execute_all(&insert, &sets, 64)
            .await
            .expect("the connection holds")
        {
            answer.accepted();
        }
        rows.extend(more);
        if flushes {
            node.flush();
        }
    }
    for _ in 0..LITERALS {
        let row = Row::new(chance);
        let hex = |bytes: &[u8]| {
            bytes
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>()
        };
        let [p, c, v] = [&row.p, &row.c, &row.v].map(|bytes| format!("0x{}", hex(bytes)));
        for statement in [
            format!(
                "INSERT INTO ks.locked (p, c, v, t) VALUES ({p}, {c}, {v}, '{}')",
                row.t
            ),
            format!(
                "INSERT INTO ks.locked JSON '{{\"p\": \"{p}\", \"c\": \"{c}\", \"v\": \"{v}\", \"t\": \"{}\"}}'",
                row.t
            ),
            format!(
                "UPDATE ks.locked SET t = '{}' WHERE p = {p} AND c = {c} IF EXISTS",
                row.t
            ),
            format!(
                "BEGIN BATCH INSERT INTO ks.locked (p, c, v) VALUES ({p}, {c}, {v}); UPDATE ks.locked SET t = '{}' WHERE p = {p} AND c = {c}; APPLY BATCH",
                row.t
            ),
            format!("SELECT JSON * FROM ks.locked WHERE p = {p}"),
            format!(
                "SELECT p, v FROM ks.locked WHERE t = '{}' ALLOW FILTERING",
                row.t
            ),
        ] {
            connection.run(&statement).await;
        }
        // In a statement they stand in hexadecimal.
        needles.extend([&p, &c, &v].map(|literal| Needle {
            kind: LITERAL,
            bytes: literal.as_bytes()[2..].to_vec(),
        }));
        rows.push(row);
    }
    for _ in 0..2 {
        let keys: Vec<_> = rows
            .iter()
            .map(|row| vec![row.p.clone(), row.c.clone()])
            .collect();
        for answer in connection
            .execute_all(&select, &keys, 64)
            .await
            .expect("the connection holds")
        {
            assert_eq!(answer.accepted().rows().len(), 1, "a row is missing");
        }
        connection
            .query_all("SELECT * FROM ks.locked", 100)
            .await
            .expect("the connection holds")
            .accepted();
        connection.run("SELECT max(t), min(v) FROM ks.locked").await;
    }
    let hex: String = long.iter().map(|byte| format!("{byte:02x}")).collect();
    connection
        .run(&format!(
            "SELECT * FROM ks.locked WHERE p = 0x{hex} ORDER BY c DESC"
        ))
        .await;
    needles.extend(rows.iter().flat_map(Row::needles));
    fill_graph(&mut connection, chance, &rows, needles).await;
}

/// Gives some rows vectors, and asks for what is near until a graph holds them.
async fn fill_graph(
    connection: &mut Connection,
    chance: &mut Chance,
    rows: &[Row],
    needles: &mut Vec<Needle>,
) {
    for statement in [
        format!("ALTER TABLE ks.locked ADD e vector<float, {DIMENSIONS}>"),
        "CREATE INDEX ON ks.locked (e) USING 'sai' WITH OPTIONS = {'similarity_function': 'euclidean'}".to_owned(),
    ] {
        connection.run(&statement).await;
    }
    let update = connection
        .prepare("UPDATE ks.locked SET e = ? WHERE p = ? AND c = ?")
        .await
        .expect("UPDATE can be prepared");
    let near = connection
        .prepare("SELECT p FROM ks.locked ORDER BY e ANN OF ? LIMIT 5")
        .await
        .expect("SELECT can be prepared");
    let mut near_to = Vec::new();
    for row in &rows[..VECTORS] {
        let numbers: Vec<f32> = (0..DIMENSIONS).map(|_| number(chance)).collect();
        let on_the_wire: Vec<u8> = numbers.iter().flat_map(|x| x.to_be_bytes()).collect();
        connection
            .execute(&update, &[&on_the_wire, &row.p, &row.c])
            .await
            .expect("the connection holds")
            .accepted();
        needles.push(Needle {
            kind: "vector in a graph",
            bytes: numbers.iter().flat_map(|x| x.to_le_bytes()).collect(),
        });
        near_to = on_the_wire;
    }
    let deadline = Instant::now() + LOCK_LIMIT;
    loop {
        let found = connection
            .execute(&near, &[&near_to])
            .await
            .expect("the connection holds");
        // Until the index has been built it is refused.
        let is_built = matches!(&found, Answer::Rows(rows) if rows.rows.len() == 5);
        let tasks = connection
            .run("SELECT * FROM system_views.sstable_tasks")
            .await;
        if is_built && tasks.rows().is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "the index is not built");
    }
}

/// Neither so large nor so small that its square is none; anything else in its bits.
fn number(chance: &mut Chance) -> f32 {
    let exponent = 100 + chance.below(50) as u32;
    let bits = (chance.number() as u32) & 0x807F_FFFF;
    f32::from_bits(bits | exponent << 23)
}

/// The table key, the data keys with the beginnings of their schedules, and the filters: from a copy of the folder, with the node's keyring.
async fn keys_of(node: &Node) -> Vec<Needle> {
    let copy = tempfile::tempdir().expect("a temporary folder can be made");
    copy_folder(&node.data(), &copy.path().join("data")).expect("the folder can be copied");
    let config = Config {
        data: copy.path().join("data"),
        keyring: node.keyring(),
        ..Config::default()
    };
    let folder = Folder::open(&config)
        .await
        .expect("the folder can be looked at")
        .expect("the folder is whole");
    let (root, ring) = ring_of(&folder).await;
    let plaintext = plaintext_of(&config, &folder, &root).await;
    let table_key = derivation::table_key(&plaintext, folder.service.cluster, &root);
    let mut needles = vec![key_needle("table key", &table_key)];
    let structures = folder.inspection.structures(root.table);
    for kind in [StructureKind::LogShare, StructureKind::SstableFilter] {
        assert!(
            structures.iter().any(|structure| structure.kind == kind),
            "there is no {kind}"
        );
    }
    for structure in structures {
        let key = derivation::data_key(
            &table_key,
            root.table,
            &structure.wrapped,
            structure.structure,
            structure.kind,
        );
        needles.push(key_needle("data key", &key));
        needles.push(Needle {
            kind: "key schedule",
            bytes: third_round_key(&key).to_vec(),
        });
        if structure.kind == StructureKind::SstableFilter {
            needles.extend(filters(&folder, &ring, &structure).await);
        }
    }
    needles
}

/// The key ring of the table under `local:first`.
async fn ring_of(folder: &Folder) -> (Root, KeyRing) {
    let roots = folder
        .inspection
        .tables()
        .into_iter()
        .filter_map(|(_, root)| root);
    let root = roots
        .into_iter()
        .find(|root| root.cmk.to_string() == "local:first")
        .expect("one table is under this key");
    let context = context_of(folder);
    let ring = open_ring(&folder.services, &root, &context, folder.service.cluster)
        .await
        .expect("the key is enabled");
    (root, ring)
}

/// What the key service makes of the root's blob.
async fn plaintext_of(config: &Config, folder: &Folder, root: &Root) -> Secret<KEY_BYTES> {
    let keyring = Keyring::open(&config.keyring).expect("the keyring can be read");
    let context = context_of(folder);
    let reply = keyring.decrypt(&root.cmk, &root.wrapped, &context).await;
    reply.outcome.expect("the key is enabled")
}

fn context_of(folder: &Folder) -> EncryptionContext {
    let subscriber = folder.service.cluster.to_string();
    EncryptionContext::for_table("ks", "locked", &subscriber)
}

fn key_needle(kind: &'static str, key: &[u8; KEY_BYTES]) -> Needle {
    Needle {
        kind,
        bytes: key.to_vec(),
    }
}

/// What AES-256 expands a key to begins with the key itself; this is what follows.
fn third_round_key(key: &[u8; 32]) -> [u8; 16] {
    let words: Vec<[u8; 4]> = key
        .chunks_exact(4)
        .map(|word| word.try_into().expect("four bytes"))
        .collect();
    let last = words[7];
    let mut word = [last[1], last[2], last[3], last[0]].map(substitute);
    word[0] ^= 1;
    let mut round = [0; 16];
    for (place, before) in words[..4].iter().enumerate() {
        word = std::array::from_fn(|byte| word[byte] ^ before[byte]);
        round[4 * place..4 * place + 4].copy_from_slice(&word);
    }
    round
}

/// The S-box of AES: the inverse in its field, and then an affine map.
fn substitute(byte: u8) -> u8 {
    let inverse = (0..=255)
        .find(|other| multiply(byte, *other) == 1)
        .unwrap_or(0);
    (1..5).fold(inverse, |sum, turn| sum ^ inverse.rotate_left(turn)) ^ 0x63
}

fn multiply(mut left: u8, mut right: u8) -> u8 {
    let mut product = 0;
    while right != 0 {
        product ^= if right & 1 == 1 { left } else { 0 };
        left = (left << 1) ^ if left & 0x80 == 0 { 0 } else { 0x1b };
        right >>= 1;
    }
    product
}

#[test]
fn a_key_expands_as_the_standard_shows() {
    // FIPS 197, appendix A.3.
    let key = std::array::from_fn(|byte| {
        let text = "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4";
        u8::from_str_radix(&text[2 * byte..2 * byte + 2], 16).expect("hexadecimal")
    });
    let hex: String = third_round_key(&key)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(hex, "9ba354118e6925afa51a8b5f2067fcde");
}

/// A filter's fingerprints, as they stand in its one sealed block; a fragment with a zero in it may be anything's.
async fn filters(folder: &Folder, ring: &KeyRing, structure: &WrappedStructure) -> Vec<Needle> {
    let size = folder
        .backend
        .blob_size(structure.structure)
        .await
        .expect("the filter is there") as usize;
    let sealed = folder
        .backend
        .blob_read(
            structure.structure,
            BLOB_HEADER_BYTES as u64,
            size - BLOB_HEADER_BYTES,
        )
        .await
        .expect("the filter can be read");
    let mut plain = Vec::new();
    SealedReader::new(
        ring,
        &structure.wrapped,
        structure.structure,
        structure.kind,
    )
    .expect("a wrap of this table opens")
    .open(0, true, &[], &sealed, &mut plain)
    .expect("a small filter is one block");
    let fragments = plain[FILTER_HEAD_BYTES..]
        .chunks_exact(8)
        .filter(|fragment| !fragment.contains(&0));
    fragments
        .map(|fragment| Needle {
            kind: "filter",
            bytes: fragment.to_vec(),
        })
        .collect()
}

/// Asks the table for a partition that is not there until it is locked, and hangs up: nobody would ask for the key of a table that nobody uses, and on a busy
/// machine it would be asleep, and not locked, before the search has come to its end. Its neighbour is read all along.
async fn use_until_locked(address: SocketAddr) {
    let mut connection = Connection::open(address)
        .await
        .expect("the server is ready");
    loop {
        connection.run("SELECT * FROM ks.neighbour").await;
        let answer = connection.query("SELECT * FROM ks.locked WHERE p = 0x00");
        match answer.await.expect("the connection holds") {
            Answer::Refused { code, .. } if code == code::UNAUTHORIZED => break,
            // The key had not come within two seconds, or a lease had ended while the process stood still.
            Answer::Refused { code, .. } if code == code::UNAVAILABLE => {}
            answer => assert!(answer.rows().is_empty()),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let rows = connection.run("SELECT encryption_status FROM system_palladium.tables WHERE keyspace_name = 'ks' AND table_name = 'locked'").await.rows();
    assert_eq!(text(&rows[0][0]), "KMS_KEY_INACCESSIBLE");
}
