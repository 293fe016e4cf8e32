//! Digests by the names that Java gives them: what `mask_hash` takes. None of them protects anything of ours.

use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha224, Sha256, Sha384, Sha512, Sha512_224, Sha512_256};
use sha3::{Sha3_224, Sha3_256, Sha3_384, Sha3_512};

/// The digest of these bytes by an algorithm, whose name may be spelled in letters of either case. None: there is none of that name.
pub(super) fn digest(algorithm: &str, bytes: &[u8]) -> Option<Vec<u8>> {
    Some(match algorithm.to_ascii_uppercase().as_str() {
        "MD5" => of::<Md5>(bytes),
        "SHA" | "SHA1" | "SHA-1" => of::<Sha1>(bytes),
        "SHA224" | "SHA-224" => of::<Sha224>(bytes),
        "SHA256" | "SHA-256" => of::<Sha256>(bytes),
        "SHA384" | "SHA-384" => of::<Sha384>(bytes),
        "SHA512" | "SHA-512" => of::<Sha512>(bytes),
        "SHA512/224" | "SHA-512/224" => of::<Sha512_224>(bytes),
        "SHA512/256" | "SHA-512/256" => of::<Sha512_256>(bytes),
        "SHA3-224" => of::<Sha3_224>(bytes),
        "SHA3-256" => of::<Sha3_256>(bytes),
        "SHA3-384" => of::<Sha3_384>(bytes),
        "SHA3-512" => of::<Sha3_512>(bytes),
        _ => return None,
    })
}

fn of<D: Digest>(bytes: &[u8]) -> Vec<u8> {
    D::digest(bytes).to_vec()
}
