//! Passwords: drawn, hashed, verified. Bcrypt, so that hashes move here from Cassandra and back.
//!
//! What must hold: a password is hashed and verified away from the threads that serve; the number of those at work is bounded by who calls.

use palladium_crypto::Entropy;

use super::SaltedHash;
use crate::error::{CqlError, CqlResult};

/// Letters and digits that nobody mistakes for each other.
const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
/// Letters of a generated password: 120 bits.
const GENERATED_LETTERS: usize = 24;

/// A password that nobody has had before.
pub fn generate(entropy: &dyn Entropy) -> String {
    let mut bytes = [0; GENERATED_LETTERS];
    entropy.fill(&mut bytes);
    bytes
        .iter()
        .map(|byte| char::from(LETTERS[usize::from(byte % 32)]))
        .collect()
}

/// The hash of a password: slow on purpose, 2^`rounds` steps.
pub fn hash(password: &str, rounds: u32, salt: [u8; 16]) -> CqlResult<SaltedHash> {
    bcrypt::hash_with_salt(password, rounds, salt)
        .map(|parts| SaltedHash(parts.format_for_version(bcrypt::Version::TwoA)))
        .map_err(|_| CqlError::server("The password cannot be hashed"))
}

/// A salt for one hash.
pub fn salt(entropy: &dyn Entropy) -> [u8; 16] {
    let mut salt = [0; 16];
    entropy.fill(&mut salt);
    salt
}

/// Whether it is the password of this hash.
pub fn verify(password: &str, hash: &SaltedHash) -> bool {
    bcrypt::verify(password, &hash.0).unwrap_or(false)
}

/// A hash as a statement gives it: `$2a$10$` and 53 more letters, as Cassandra takes it.
pub fn checked_hash(text: &str) -> CqlResult<SaltedHash> {
    let is_valid = (text.starts_with("$2a$") || text.starts_with("$2$"))
        && text.parse::<bcrypt::HashParts>().is_ok();
    match is_valid {
        true => Ok(SaltedHash(text.to_owned())),
        false => Err(CqlError::invalid(
            "Invalid hashed password value. Please use jBcrypt.",
        )),
    }
}

#[cfg(test)]
mod tests {
    use palladium_crypto::SeededEntropy;

    use super::*;

    #[test]
    fn a_hash_of_cassandras_opens_and_another_password_does_not() {
        let hash =
            checked_hash("$2a$10$7jqDFnSLMbsAHomp/5HLHOlY0Gux2U0m8oFLgS1Fx4ErcNG0GWM8C").unwrap();
        assert!(verify("cassandra", &hash));
        assert!(!verify("Cassandra", &hash));
        assert!(
            checked_hash("$2b$10$7jqDFnSLMbsAHomp/5HLHOlY0Gux2U0m8oFLgS1Fx4ErcNG0GWM8C").is_err()
        );
        assert!(checked_hash("nonsense").is_err());
    }

    #[test]
    fn what_is_hashed_here_is_written_as_cassandra_writes_it() {
        let entropy = SeededEntropy::new(1);
        let made = hash("secret", 4, salt(&entropy)).unwrap();
        assert!(made.0.starts_with("$2a$04$") && made.0.len() == 60);
        assert!(verify("secret", &made));
        let (one, other) = (generate(&entropy), generate(&entropy));
        assert!(one.len() == 24 && one != other);
    }
}
