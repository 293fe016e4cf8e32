//! Passwords: drawn, hashed, verified. Bcrypt, so that hashes move here from Cassandra and back.
//!
//! What must hold: a password is hashed and verified away from the threads that serve; the number of those at work is bounded by who calls.

use std::ops::RangeInclusive;

use palladium_crypto::Entropy;

use super::SaltedHash;
use crate::error::{CqlError, CqlResult};

/// Letters and digits that nobody mistakes for each other.
const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
/// Letters of a generated password: 120 bits.
const GENERATED_LETTERS: usize = 24;

/// Steps of a hash, as a power of two, that somebody may have us take: at the most some seconds, at the least what makes guessing slow.
pub const ROUNDS: RangeInclusive<u32> = 4..=16;

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

/// A hash as a statement gives it: `$2a$10$` and 53 more letters, as Cassandra takes it. Not with as many steps as Cassandra takes: a login with 2^31 of them
/// would be days on one of the few places where all passwords are verified.
pub fn checked_hash(text: &str) -> CqlResult<SaltedHash> {
    let parts = text.parse::<bcrypt::HashParts>();
    let parts = parts.ok().filter(|_| text.starts_with("$2a$"));
    let parts = parts
        .ok_or_else(|| CqlError::invalid("Invalid hashed password value. Please use jBcrypt."))?;
    match ROUNDS.contains(&parts.get_cost()) {
        true => Ok(SaltedHash(text.to_owned())),
        false => Err(CqlError::invalid(format!(
            "Invalid hashed password value. It takes 2^{} rounds, and may take from 2^{} to 2^{}.",
            parts.get_cost(),
            ROUNDS.start(),
            ROUNDS.end()
        ))),
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
        let with_rounds = |rounds: u32| {
            let text =
                format!("$2a${rounds:02}$7jqDFnSLMbsAHomp/5HLHOlY0Gux2U0m8oFLgS1Fx4ErcNG0GWM8C");
            checked_hash(&text).map_err(|error| error.message)
        };
        assert!(with_rounds(16).is_ok());
        for rounds in [17, 31] {
            let said = with_rounds(rounds).unwrap_err();
            assert!(said.contains(&format!("2^{rounds} rounds")), "{said}");
        }
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
