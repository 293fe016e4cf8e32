//! Finding a token among sorted ones, where it can be guessed from its value.

/// Tokens left when guessing stops and reading on is cheaper.
const SCAN_TOKENS: usize = 8;

const TOKEN_BYTES: usize = 8;

/// Bytes that both begin with.
pub fn shared_prefix(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// The token at an index of an array of little-endian tokens. The index is in range: callers take it from the array's length.
pub fn token_at(tokens: &[u8], at: usize) -> i64 {
    tokens
        .get(at * TOKEN_BYTES..)
        .and_then(|rest| rest.first_chunk())
        .map_or(i64::MAX, |chunk| i64::from_le_bytes(*chunk))
}

/// The index of the first token at or after `token` in an ascending array; its length if there is none.
///
/// Tokens are hashes, so where one stands can be guessed from its value; every other step halves instead, for arrays that are not
/// uniform.
pub fn first_at_or_after(tokens: &[u8], token: i64) -> usize {
    let (mut low, mut high) = (0, tokens.len() / TOKEN_BYTES);
    let mut guess = true;
    // All below `low` are smaller, all from `high` on are not.
    while high - low > SCAN_TOKENS {
        let middle = if guess {
            interpolate(
                low,
                high - 1,
                token_at(tokens, low),
                token_at(tokens, high - 1),
                token,
            )
        } else {
            low + (high - low) / 2
        };
        if token_at(tokens, middle) < token {
            low = middle + 1;
        } else {
            high = middle;
        }
        guess = !guess;
    }
    while low < high && token_at(tokens, low) < token {
        low += 1;
    }
    low
}

/// Where `token` would stand between two indexes if tokens were evenly spread: always within both.
fn interpolate(low: usize, high: usize, low_token: i64, high_token: i64, token: i64) -> usize {
    if token <= low_token || high_token <= low_token {
        return low;
    }
    if token >= high_token {
        return high;
    }
    let span = high_token.abs_diff(low_token);
    let part = token.abs_diff(low_token);
    low + ((u128::from(part) * (high - low) as u128) / u128::from(span)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(tokens: &[i64]) -> Vec<u8> {
        tokens
            .iter()
            .flat_map(|token| token.to_le_bytes())
            .collect()
    }

    #[test]
    fn a_search_finds_what_counting_finds() {
        let uniform: Vec<i64> = (0..100).map(|n| (n - 50) * (i64::MAX / 60)).collect();
        let skewed: Vec<i64> = (0..60).map(|n| 1i64 << n).collect();
        let equal = vec![5; 40];
        let extreme = vec![i64::MIN, i64::MIN, -1, 0, 1, i64::MAX, i64::MAX];
        for tokens in [uniform, skewed, equal, extreme, vec![], vec![3]] {
            let bytes = array(&tokens);
            let near = tokens
                .iter()
                .flat_map(|t| [t.saturating_sub(1), *t, t.saturating_add(1)])
                .chain([i64::MIN, 0, i64::MAX]);
            for wanted in near {
                let counted = tokens.iter().filter(|t| **t < wanted).count();
                assert_eq!(
                    first_at_or_after(&bytes, wanted),
                    counted,
                    "{wanted} in {tokens:?}"
                );
            }
        }
    }

    #[test]
    fn a_search_among_unsorted_tokens_ends() {
        let tokens: Vec<i64> = (0..200i64)
            .map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15u64 as i64))
            .collect();
        for wanted in tokens.iter().step_by(7) {
            assert!(first_at_or_after(&array(&tokens), *wanted) <= tokens.len());
        }
    }
}
