//! The order in which Cassandra goes through names that it keeps in a hash table, for of several mistakes a client is told the one that is met first.
//!
//! Names are hashed by their bytes alone, so that the order is the same on every node and after every start.

/// Buckets of a table that nothing was put into yet.
const BUCKETS_MIN: usize = 16;

/// Things in the order of their names' hashes.
pub fn in_hash_order<T>(things: &[T], name: impl Fn(&T) -> &str) -> Vec<&T> {
    // It grows when three quarters of its buckets would be taken.
    let mut buckets = BUCKETS_MIN;
    while things.len() > buckets / 4 * 3 {
        buckets *= 2;
    }
    let mut ordered: Vec<&T> = things.iter().collect();
    ordered.sort_by_key(|thing| bucket(name(thing)) as usize & (buckets - 1));
    ordered
}

/// The bits of a name's hash that choose its bucket.
fn bucket(name: &str) -> u32 {
    let hash = name.bytes().rev().fold(1_u32, |hash, byte| {
        let byte = i32::from(byte as i8) as u32;
        hash.wrapping_mul(31).wrapping_add(byte)
    });
    hash ^ (hash >> 16)
}

#[cfg(test)]
mod tests {
    use super::in_hash_order;

    #[test]
    fn short_names_come_by_their_last_bits() {
        // One letter: 31 + its code. p = 143, b = 129, a = 128: of 16 buckets the last, the second, the first.
        let ordered = in_hash_order(&["p", "b", "a"], |name| name);
        assert_eq!(ordered, [&"a", &"b", &"p"]);
        // q = 144 is in the first bucket of 16, behind the a that came before it, and in another one of 32.
        assert_eq!(
            in_hash_order(&["a", "q", "b"], |name| name),
            [&"a", &"q", &"b"]
        );
    }
}
