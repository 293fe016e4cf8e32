//! Trains a dictionary: the stretches of sampled blocks that other samples have in them too.
//!
//! ```text
//! samples ──► every six bytes, hashed ──► in how many samples they are
//!         ──► of each sample in turn the stretch of 128 bytes that has most of the others' ──► the best of all last, where offsets are short
//! ```
//!
//! The method is that of zstd's own trainer (COVER, with counts in a table of hashes), written here because that one leaves copies of its samples on the C heap,
//! and is not the same from run to run by any promise. It makes content alone, no tables of symbols.
//!
//! What must hold: the same samples give the same dictionary; time and memory are bounded by the samples'.

use super::zstd::{Compressor, DICTIONARY_BYTES_MAX, Dictionary};
use crate::Result;
use crate::wiped::Wiped;

/// Plaintext of the first blocks that wait for a dictionary: sixteen of the largest.
pub const SAMPLES_BYTES_MAX: usize = 16 * DICTIONARY_BYTES_MAX;

/// Less than this is not worth one: it would be half of the data.
const SAMPLES_BYTES_MIN: usize = 128 << 10;

/// Samples for each byte of a dictionary.
const SAMPLES_PER_BYTE: usize = 16;

/// Of so many samples one is kept back, to see whether the dictionary is any good.
const JUDGE_EVERY: usize = 4;

/// Samples that judge, at most.
const JUDGES_MAX: usize = 32;

/// Of data whose end is not known, this part has to be saved.
const GAIN_MIN: usize = 32;

/// Effort at which it is judged: what gains there, gains.
const JUDGE_LEVEL_MAX: i32 = 3;

/// Bytes of a stretch.
const STRETCH_BYTES: usize = 128;

/// Bytes that are counted together. They are read by eight.
const GRAM_BYTES: usize = 6;
const READ_BYTES: usize = 8;

/// Bits of a hash: two tables of half a megabyte.
const SLOT_BITS: u32 = 18;

/// An odd number whose multiples spread six bytes well, as zstd has it.
const SPREAD: u64 = 227_718_039_650_203;

/// The dictionary of an SSTable that begins with these blocks; None where it would not pay. `is_all`: there are no other blocks.
pub fn train(samples: &[&[u8]], is_all: bool, level: i32) -> Result<Option<Wiped<Vec<u8>>>> {
    let total: usize = samples.iter().map(|sample| sample.len()).sum();
    if total < SAMPLES_BYTES_MIN {
        return Ok(None);
    }
    let is_judge = |at: &usize| at.is_multiple_of(JUDGE_EVERY);
    let numbered = || samples.iter().copied().enumerate();
    let students: Vec<&[u8]> = numbered()
        .filter(|(at, _)| !is_judge(at))
        .map(|(_, sample)| sample)
        .collect();
    let judges: Vec<&[u8]> = numbered()
        .filter(|(at, _)| is_judge(at))
        .map(|(_, sample)| sample)
        .take(JUDGES_MAX)
        .collect();
    let bytes_max = (total / SAMPLES_PER_BYTE).min(DICTIONARY_BYTES_MAX);
    let content = stretches(&students, bytes_max);
    if content.is_empty() || Dictionary::is_ambiguous(&content) {
        return Ok(None);
    }
    let level = level.min(JUDGE_LEVEL_MAX);
    let without = packed_bytes(&judges, Compressor::new(level, None)?);
    let with = packed_bytes(&judges, Compressor::new(level, Some(&content))?);
    let judged: usize = judges.iter().map(|sample| sample.len()).sum();
    let saved = without.saturating_sub(with);
    let pays = match is_all {
        true => saved * (total / judged.max(1)) > content.len(),
        false => saved > without / GAIN_MIN,
    };
    Ok(pays.then_some(content))
}

fn packed_bytes(samples: &[&[u8]], mut compressor: Compressor) -> usize {
    let packed = samples.iter().map(|sample| {
        let packed = compressor.pack(0, sample);
        packed.map_or(sample.len(), |packed| packed.len())
    });
    packed.sum()
}

/// Counts of samples, by the hash of what is in them.
struct Counts {
    samples: Vec<u16>,
    /// How often each hash stands in the stretch that is looked at.
    here: Vec<u16>,
}

impl Counts {
    fn of(samples: &[&[u8]]) -> Self {
        let mut counts = vec![0u16; 1 << SLOT_BITS];
        let mut last = vec![0u16; 1 << SLOT_BITS];
        for (at, sample) in (1u16..=u16::MAX).zip(samples) {
            for slot in slots(sample) {
                if std::mem::replace(&mut last[slot], at) != at {
                    counts[slot] += 1;
                }
            }
        }
        last.fill(0);
        Counts {
            samples: counts,
            here: last,
        }
    }

    /// What a hash is worth: the other samples that have it.
    fn worth(&self, slot: usize) -> u64 {
        u64::from(self.samples[slot].saturating_sub(1))
    }

    /// The stretch of so many hashes that is worth most, each counted once; None if none is worth anything.
    fn best(&mut self, slots: &[usize], length: usize) -> Option<(u64, usize)> {
        let (mut worth, mut best) = (0, None);
        for (at, &slot) in slots.iter().enumerate() {
            if self.here[slot] == 0 {
                worth += self.worth(slot);
            }
            self.here[slot] += 1;
            if let Some(first) = (at + 1).checked_sub(length) {
                if worth > best.map_or(0, |(most, _)| most) {
                    best = Some((worth, first));
                }
                let gone = slots[first];
                self.here[gone] -= 1;
                if self.here[gone] == 0 {
                    worth -= self.worth(gone);
                }
            }
        }
        for slot in &slots[(slots.len() + 1).saturating_sub(length)..] {
            self.here[*slot] = 0;
        }
        best
    }
}

fn slots(sample: &[u8]) -> impl Iterator<Item = usize> + '_ {
    sample.windows(READ_BYTES).map(|window| {
        let bytes = u64::from_le_bytes(window.try_into().expect("eight bytes"));
        let gram = bytes << (8 * (READ_BYTES - GRAM_BYTES));
        (gram.wrapping_mul(SPREAD) >> (u64::BITS - SLOT_BITS)) as usize
    })
}

/// The stretches worth most, at most so many bytes of them.
fn stretches(samples: &[&[u8]], bytes_max: usize) -> Wiped<Vec<u8>> {
    let mut counts = Counts::of(samples);
    let length = STRETCH_BYTES - READ_BYTES + 1;
    let mut chosen: Vec<(u64, &[u8])> = Vec::new();
    let mut hashes = Vec::new();
    let mut before = usize::MAX;
    // Round after round, until there is enough or a round finds nothing.
    while chosen.len() != before && chosen.len() * STRETCH_BYTES < bytes_max {
        before = chosen.len();
        for sample in samples {
            hashes.clear();
            hashes.extend(slots(sample));
            let Some((worth, at)) = counts.best(&hashes, length) else {
                continue;
            };
            for slot in &hashes[at..at + length] {
                counts.samples[*slot] = 0;
            }
            chosen.push((worth, &sample[at..at + STRETCH_BYTES]));
        }
    }
    chosen.sort_by_key(|(worth, _)| *worth);
    let first = chosen.len().saturating_sub(bytes_max / STRETCH_BYTES);
    let mut content = Wiped::new(Vec::with_capacity(bytes_max));
    for (_, stretch) in &chosen[first..] {
        content.extend_from_slice(stretch);
    }
    content
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sstable::tests::Dice;

    /// Rows of words of one vocabulary, or noise.
    fn blocks(dice: &mut Dice, count: usize, vocabulary: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let block = |dice: &mut Dice| match vocabulary {
            [] => dice.bytes(4096).to_vec(),
            words => {
                let mut block = Vec::new();
                while block.len() < 4096 {
                    block.extend_from_slice(&words[dice.next() as usize % words.len()]);
                }
                block
            }
        };
        (0..count).map(|_| block(dice)).collect()
    }

    fn trained(blocks: &[Vec<u8>], is_all: bool) -> Option<Wiped<Vec<u8>>> {
        let samples: Vec<&[u8]> = blocks.iter().map(|block| &block[..]).collect();
        train(&samples, is_all, 3).expect("memory")
    }

    #[test]
    fn blocks_of_one_vocabulary_get_a_dictionary_and_noise_gets_none() {
        let mut dice = Dice::new(1);
        let vocabulary: Vec<Vec<u8>> = (0..2000).map(|_| dice.bytes(11).to_vec()).collect();
        let words = blocks(&mut dice, 250, &vocabulary);
        let dictionary = trained(&words, false).expect("it pays");
        assert!(dictionary.len() <= DICTIONARY_BYTES_MAX && dictionary.len() > 8 << 10);
        assert_eq!(trained(&words, false), Some(dictionary), "the same again");
        assert!(trained(&words[..20], true).is_none(), "too little");
        assert!(trained(&blocks(&mut dice, 250, &[]), false).is_none());
    }

    #[test]
    fn samples_of_any_size_are_taken() {
        let mut dice = Dice::new(2);
        let mut odd = blocks(
            &mut dice,
            60,
            &[b"nothing but this one sentence, ".to_vec()],
        );
        odd.extend([vec![], vec![1], vec![2; 7], vec![3; 128], vec![0; 300_000]]);
        let _ = trained(&odd, true);
    }
}
