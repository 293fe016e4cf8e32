//! Rows that can be told from wrong ones: what a row holds follows from its place and its version alone.
//!
//! ```text
//! value   version(8)  payload(20 to 420), a sequence that starts from place and version
//! ```

use bytes::Bytes;
use palladium_integration_tests::chance::{Chance, mix};
use palladium_integration_tests::raw::Connection;

/// Where a row stands: partition and clustering.
pub type Place = (i32, i32);

/// What version `version` of the row at `place` holds.
pub fn value((partition, clustering): Place, version: u64) -> Vec<u8> {
    let start = mix(version ^ mix((partition as u64) << 32 | u64::from(clustering as u32)));
    let mut chance = Chance::new(start);
    let length = 20 + chance.below(400);
    let mut bytes = version.to_be_bytes().to_vec();
    bytes.extend(std::iter::repeat_with(|| chance.number() as u8).take(length));
    bytes
}

/// The version of a value that was read at `place`; a value that was never written there is `None`.
pub fn version_of(place: Place, found: &[u8]) -> Option<u64> {
    let version = u64::from_be_bytes(found.get(..8)?.try_into().ok()?);
    (value(place, version) == found).then_some(version)
}

/// The values that an INSERT of `(p, c, v)` binds.
pub fn bind(place: Place, version: u64) -> Vec<Vec<u8>> {
    vec![
        place.0.to_be_bytes().to_vec(),
        place.1.to_be_bytes().to_vec(),
        value(place, version),
    ]
}

/// An `int` as it came.
pub fn int(value: &Option<Bytes>) -> i32 {
    let bytes = value.as_deref().expect("not null");
    i32::from_be_bytes(bytes.try_into().expect("an int has four bytes"))
}

/// A `bigint` or `counter` as it came.
pub fn bigint(value: &Option<Bytes>) -> i64 {
    let bytes = value.as_deref().expect("not null");
    i64::from_be_bytes(bytes.try_into().expect("a bigint has eight bytes"))
}

/// A `text` as it came.
pub fn text(value: &Option<Bytes>) -> String {
    String::from_utf8_lossy(value.as_deref().unwrap_or_default()).into_owned()
}

/// Makes a keyspace with one replica.
pub async fn make_keyspace(connection: &mut Connection, keyspace: &str) {
    connection
        .run(&format!("CREATE KEYSPACE {keyspace} WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': 1}}"))
        .await;
}

/// Makes a table for such rows; `options` is what follows WITH.
pub async fn make_table(connection: &mut Connection, table: &str, options: &str) {
    let with = if options.is_empty() {
        String::new()
    } else {
        format!(" WITH {options}")
    };
    connection
        .run(&format!(
            "CREATE TABLE {table} (p int, c int, v blob, PRIMARY KEY (p, c)){with}"
        ))
        .await;
}

/// Writes version `version` of every place, and every write must be acknowledged.
pub async fn write_all(
    connection: &mut Connection,
    table: &str,
    places: impl Iterator<Item = Place>,
    version: u64,
) {
    let insert = connection
        .prepare(&format!("INSERT INTO {table} (p, c, v) VALUES (?, ?, ?)"))
        .await
        .expect("INSERT can be prepared");
    let sets: Vec<_> = places.map(|place| bind(place, version)).collect();
    for answer in connection
        .execute_all(&insert, &sets, 128)
        .await
        .expect("the connection holds")
    {
        answer.accepted();
    }
}

/// Everything in the table by a paged scan, as place and version, in the order it came; a value that was never written fails the test.
pub async fn read_all(connection: &mut Connection, table: &str) -> Vec<(Place, u64)> {
    let answer = connection
        .query_all(&format!("SELECT p, c, v FROM {table}"), 1000)
        .await
        .expect("the connection holds");
    versions(&answer.accepted().rows())
}

/// Place and version of rows of `(p, c, v)`; a value that was never written fails the test.
pub fn versions(rows: &[Vec<Option<Bytes>>]) -> Vec<(Place, u64)> {
    rows.iter()
        .map(|row| {
            let place = (int(&row[0]), int(&row[1]));
            let found = row[2]
                .as_deref()
                .unwrap_or_else(|| panic!("{place:?} has no value"));
            let version = version_of(place, found)
                .unwrap_or_else(|| panic!("{place:?} holds bytes that nobody wrote there"));
            (place, version)
        })
        .collect()
}

/// A grid of places: `partitions` times `clusterings`.
pub fn grid(partitions: i32, clusterings: i32) -> impl Iterator<Item = Place> {
    (0..partitions)
        .flat_map(move |partition| (0..clusterings).map(move |clustering| (partition, clustering)))
}
