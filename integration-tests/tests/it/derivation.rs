//! A table's keys from what its key service gives, derived here a second time: as `crypto/README.md` has it written down, by other code than the server's.
//!
//! A test that looks for keys where they must not be needs their bytes, and the server's own code gives them to nobody.

use aes_gcm::aead::{Aead, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce};
use hkdf::Hkdf;
use palladium_crypto::{ClusterId, Secret, StructureId, StructureKind, TableId, WrappedDataKey};
use palladium_storage::Root;
use sha2::Sha256;

/// Bytes of a key, and of a wrap's salt, ciphertext and commitment.
pub const KEY_BYTES: usize = 32;

/// HKDF-SHA256, bound to a label and to parts whose borders are told by their lengths.
fn derive<const N: usize>(key: &[u8], salt: &[u8], label: &str, parts: &[&[u8]]) -> [u8; N] {
    let mut info = [label.as_bytes(), &[0]].concat();
    for part in parts {
        info.extend((part.len() as u32).to_be_bytes());
        info.extend_from_slice(part);
    }
    let mut out = [0; N];
    let derived = Hkdf::<Sha256>::new(Some(salt), key).expand(&info, &mut out);
    derived.expect("HKDF gives that much");
    out
}

/// The newest key of a table, from what the key service made of the root's blob.
pub fn table_key(
    plaintext: &Secret<KEY_BYTES>,
    cluster: ClusterId,
    root: &Root,
) -> [u8; KEY_BYTES] {
    let (version, cmk) = (root.version.to_be_bytes(), root.cmk.to_string());
    let parts: [&[u8]; 4] = [&cluster.0, &root.table.0, &version, cmk.as_bytes()];
    derive(plaintext.expose(), &[], "palladium 1 table key", &parts)
}

/// The data key of a structure: version | salt | ciphertext and tag | commitment.
pub fn data_key(
    table_key: &[u8; KEY_BYTES],
    table: TableId,
    wrapped: &WrappedDataKey,
    structure: StructureId,
    kind: StructureKind,
) -> [u8; KEY_BYTES] {
    let bytes = wrapped.to_bytes();
    let (version, rest) = bytes.split_at(4);
    let (salt, rest) = rest.split_at(KEY_BYTES);
    let (sealed, commitment) = rest.split_at(rest.len() - KEY_BYTES);
    let parts: [&[u8]; 4] = [&table.0, &structure.0, &[kind as u8], version];
    let one_time: [u8; 2 * KEY_BYTES] =
        derive(table_key, salt, "palladium 1 data key wrap", &parts);
    let (key, expected) = one_time.split_at(KEY_BYTES);
    assert_eq!(commitment, expected, "the wrap is committed to its key");
    let cipher = Aes256Gcm::new_from_slice(key).expect("32 bytes are a key");
    let opened = cipher.decrypt(&Nonce::default(), sealed);
    let opened = opened.expect("the wrap opens under its key");
    opened.try_into().expect("a data key has 32 bytes")
}
