//! The order in which Cassandra goes through what it keeps in a hash table: it lists names in it, and of several mistakes a client is told the one that is met
//! first.
//!
//! Names are hashed by their letters or their bytes alone, so that the order is the same on every node and after every start.

/// Buckets of a table that nothing was put into yet.
const BUCKETS_MIN: usize = 16;

/// Things in the order of their hashes; of equal ones the first alone, for they are a set.
pub fn in_hash_order<T: PartialEq>(
    things: impl IntoIterator<Item = T>,
    hash: impl Fn(&T) -> u32,
) -> Vec<T> {
    let mut ordered: Vec<(u32, T)> = Vec::new();
    for thing in things {
        let hash = hash(&thing);
        if !ordered
            .iter()
            .any(|(own, other)| *own == hash && *other == thing)
        {
            ordered.push((hash, thing));
        }
    }
    // It grows when three quarters of its buckets would be taken.
    let mut buckets = BUCKETS_MIN;
    while ordered.len() > buckets / 4 * 3 {
        buckets *= 2;
    }
    ordered.sort_by_key(|(hash, _)| (hash ^ (hash >> 16)) as usize & (buckets - 1));
    ordered.into_iter().map(|(_, thing)| thing).collect()
}

/// The hash of a text.
pub fn of_text(text: &str) -> u32 {
    text.encode_utf16()
        .fold(0, |hash, unit| hash_with(hash, u32::from(unit)))
}

/// The hash of an identifier, which is that of its bytes from the last to the first.
pub fn of_identifier(name: &str) -> u32 {
    let bytes = name.bytes().rev();
    bytes.fold(1, |hash, byte| {
        hash_with(hash, i32::from(byte as i8) as u32)
    })
}

fn hash_with(hash: u32, next: u32) -> u32 {
    hash.wrapping_mul(31).wrapping_add(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identifiers<const N: usize>(names: [&str; N]) -> Vec<&str> {
        in_hash_order(names, |name| of_identifier(name))
    }

    #[test]
    fn short_names_come_by_their_last_bits() {
        // One letter: 31 + its code. p = 143, b = 129, a = 128: of 16 buckets the last, the second, the first.
        assert_eq!(identifiers(["p", "b", "a"]), ["a", "b", "p"]);
        // q = 144 is in the first bucket of 16, behind the a that came before it, and in another one of 32.
        assert_eq!(identifiers(["a", "q", "b"]), ["a", "q", "b"]);
    }

    #[test]
    fn what_is_named_twice_comes_once() {
        assert_eq!(identifiers(["b", "a", "b"]), ["a", "b"]);
    }

    #[test]
    fn texts_are_listed_as_java_lists_them() {
        let names = ["a.t2", "a.t3"];
        assert_eq!(in_hash_order(names, |name| of_text(name)), ["a.t3", "a.t2"]);
    }
}
