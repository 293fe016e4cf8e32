//! Published vectors against the two doors to the cipher libraries: AES-256-GCM (the GCM paper and NIST's CAVP), HKDF-SHA256
//! (RFC 5869) and HMAC-SHA256 (RFC 4231).

use palladium_crypto::Secret;
use palladium_crypto::primitives::{Cipher, hkdf_sha256, hmac_sha256};

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex
        .chars()
        .filter_map(|digit| digit.to_digit(16))
        .map(|digit| digit as u8)
        .collect();
    digits
        .chunks_exact(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

struct GcmVector {
    key: Secret<32>,
    nonce: [u8; 12],
    plaintext: Vec<u8>,
    associated: Vec<u8>,
    ciphertext: Vec<u8>,
    tag: [u8; 16],
}

fn gcm_vectors() -> Vec<GcmVector> {
    let lines = include_str!("vectors/aes_256_gcm.txt").lines();
    let vectors: Vec<GcmVector> = lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            let fields: Vec<Vec<u8>> = line.split(' ').map(bytes).collect();
            let [key, nonce, plaintext, associated, ciphertext, tag] =
                fields.try_into().expect("six fields");
            GcmVector {
                key: Secret::from_slice(&key).expect("32 bytes"),
                nonce: nonce.try_into().expect("12 bytes"),
                plaintext,
                associated,
                ciphertext,
                tag: tag.try_into().expect("16 bytes"),
            }
        })
        .collect();
    assert_eq!(vectors.len(), 79, "all vectors are read");
    vectors
}

#[test]
fn aes_256_gcm_seals_as_published() {
    for vector in gcm_vectors() {
        let mut buffer = vector.plaintext.clone();
        let tag = Cipher::new(&vector.key)
            .seal_in_place(&vector.nonce, &vector.associated, &mut buffer)
            .unwrap();
        assert_eq!((buffer, tag), (vector.ciphertext, vector.tag));
    }
}

#[test]
fn aes_256_gcm_opens_as_published() {
    for vector in gcm_vectors() {
        let cipher = Cipher::new(&vector.key);
        let mut plain = vec![0; vector.ciphertext.len()];
        cipher
            .open_into(
                &vector.nonce,
                &vector.associated,
                &vector.ciphertext,
                &mut plain,
                &vector.tag,
            )
            .unwrap();
        let mut buffer = vector.ciphertext.clone();
        cipher
            .open_in_place(&vector.nonce, &vector.associated, &mut buffer, &vector.tag)
            .unwrap();
        assert_eq!((&plain, &buffer), (&vector.plaintext, &vector.plaintext));
    }
}

#[test]
fn aes_256_gcm_refuses_a_published_tag_with_a_wrong_bit_and_writes_no_plaintext() {
    for vector in gcm_vectors() {
        let cipher = Cipher::new(&vector.key);
        for bit in 0..128 {
            let mut tag = vector.tag;
            tag[bit / 8] ^= 1 << (bit % 8);
            let mut plain = vec![0xee; vector.ciphertext.len()];
            let opened = cipher.open_into(
                &vector.nonce,
                &vector.associated,
                &vector.ciphertext,
                &mut plain,
                &tag,
            );
            assert!(opened.is_err());
            assert!(plain.iter().all(|byte| *byte == 0));
        }
    }
}

#[test]
fn opening_into_a_buffer_of_another_length_is_refused() {
    let cipher = Cipher::new(&Secret::from_bytes([1; 32]));
    let opened = cipher.open_into(&[0; 12], &[], &[0; 5], &mut [0; 6], &[0; 16]);
    assert!(opened.is_err());
}

#[test]
fn hkdf_sha256_derives_as_published() {
    // RFC 5869, appendix A, test cases 1 to 3.
    let counting = |from: u8, to: u8| (from..=to).collect::<Vec<u8>>();
    let cases = [
        (
            vec![0x0b; 22],
            counting(0x00, 0x0c),
            counting(0xf0, 0xf9),
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
        ),
        (
            counting(0x00, 0x4f),
            counting(0x60, 0xaf),
            counting(0xb0, 0xff),
            "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09\
             da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87",
        ),
        (
            vec![0x0b; 22],
            vec![],
            vec![],
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
        ),
    ];
    for (key, salt, info, expected) in cases {
        let expected = bytes(expected);
        let mut derived = vec![0; expected.len()];
        hkdf_sha256(&salt, &key, &info, &mut derived);
        assert_eq!(derived, expected);
    }
}

#[test]
fn hmac_sha256_tags_as_published() {
    // RFC 4231, test case 1 and 2. HMAC pads a short key with zeros, so a key of 32 bytes that ends in zeros is the same key.
    let tag = |key: &[u8], message: &[u8]| {
        let mut padded = [0; 32];
        padded[..key.len()].copy_from_slice(key);
        hmac_sha256(&Secret::from_bytes(padded), &[message]).to_vec()
    };
    assert_eq!(
        tag(&[0x0b; 20], b"Hi There"),
        bytes("b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7")
    );
    assert_eq!(
        tag(b"Jefe", b"what do ya want for nothing?"),
        bytes("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843")
    );
}
