//! Zstandard, as far as data blocks need it: frames without their magic number, with or without a dictionary.
//!
//! What must hold: of a block nothing stays behind. Contexts and dictionaries live in memory of Rust's allocator (which the program's wipes as it is freed); the
//! context that opens blocks lives as long as its thread, so what it keeps of one, its literals, is overwritten before it is used for anything else. The context
//! that packs belongs to one writer and goes with it. Dictionaries are plaintext: samples of rows.

use std::cell::RefCell;

use zstd_safe::{CCtx, CParameter, DCtx, DDict};

use crate::wiped::Wiped;
use crate::{Error, Result};

/// Plaintext bytes of a block that it packs at most: the memory of a context grows with it. One larger row is LZ4's.
pub const ZSTD_BYTES_MAX: usize = 1 << 20;

/// Bytes of a dictionary: as many as pay for themselves, and few beside what an open SSTable takes for its filter.
pub const DICTIONARY_BYTES_MAX: usize = 64 << 10;

/// What every frame begins with, and we leave out.
const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// What a trained dictionary begins with.
const DICTIONARY_MAGIC: [u8; 4] = [0x37, 0xa4, 0x30, 0xec];

/// First byte of the dictionary's block.
const DICTIONARY_KIND: u8 = 1;

/// Bytes of a block in front of its frame: the method and the length, the latter where the magic number was.
const HEAD_BYTES: usize = 1 + MAGIC.len();

/// Literals of a block that a context keeps in itself: zstd's ZSTD_LITBUFFEREXTRASIZE. What is more, it keeps where the plaintext goes.
const LITERALS_BYTES_MAX: usize = 64 << 10;

/// Packs the blocks of one SSTable.
pub struct Compressor {
    context: CCtx<'static>,
}

impl Compressor {
    /// With a level as zstd counts them, and the bytes of a dictionary that [`Dictionary`] will be made of.
    pub fn new(level: i32, dictionary: Option<&[u8]>) -> Result<Self> {
        let mut context = CCtx::try_create().ok_or_else(no_memory)?;
        let level = level.clamp(zstd_safe::min_c_level(), zstd_safe::max_c_level());
        let parameters = [
            CParameter::CompressionLevel(level),
            CParameter::ContentSizeFlag(false),
            CParameter::ChecksumFlag(false),
            CParameter::DictIdFlag(false),
        ];
        for parameter in parameters {
            context.set_parameter(parameter).map_err(|_| no_memory())?;
        }
        if let Some(dictionary) = dictionary {
            context
                .load_dictionary(dictionary)
                .map_err(|_| no_memory())?;
        }
        Ok(Compressor { context })
    }

    /// The block with `method` in front; None if it does not shrink.
    pub fn pack(&mut self, method: u8, plain: &[u8]) -> Option<Wiped<Vec<u8>>> {
        if plain.len() > ZSTD_BYTES_MAX {
            return None;
        }
        let mut packed = Wiped::new(vec![0; 1 + zstd_safe::compress_bound(plain.len())]);
        let written = self.context.compress2(&mut packed[1..], plain).ok()?;
        if 1 + written >= plain.len() || packed[1..HEAD_BYTES] != MAGIC {
            return None;
        }
        packed[0] = method;
        packed[1..HEAD_BYTES].copy_from_slice(&(plain.len() as u32).to_le_bytes());
        packed.truncate(1 + written);
        Some(packed)
    }
}

/// A dictionary, digested: for the readers of one open SSTable.
pub struct Dictionary {
    digested: DDict<'static>,
}

impl Dictionary {
    /// The plaintext of a dictionary's block.
    pub fn encode(content: &[u8]) -> Wiped<Vec<u8>> {
        let mut plain = Wiped::new(Vec::with_capacity(1 + content.len()));
        plain.push(DICTIONARY_KIND);
        plain.extend_from_slice(content);
        plain
    }

    /// Reads it back.
    pub fn decode(plain: &[u8]) -> Result<Self> {
        let content = match plain.split_first() {
            Some((&DICTIONARY_KIND, content)) => content,
            _ => return Err(Error::corrupt("dictionary: unknown kind")),
        };
        if content.is_empty() || content.len() > DICTIONARY_BYTES_MAX {
            return Err(Error::corrupt("dictionary: impossible length"));
        }
        let digested = DDict::try_create(content);
        let digested = digested.ok_or_else(|| Error::corrupt("dictionary: malformed"))?;
        Ok(Dictionary { digested })
    }

    /// What it takes in memory.
    pub fn bytes(&self) -> usize {
        self.digested.sizeof()
    }

    /// Whether content would be taken for a trained dictionary.
    pub fn is_ambiguous(content: &[u8]) -> bool {
        content.starts_with(&DICTIONARY_MAGIC)
    }
}

/// The plaintext of a block that [`Compressor::pack`] made: at most `bytes_max` long.
pub fn unpack(
    mut packed: Wiped<Vec<u8>>,
    dictionary: Option<&Dictionary>,
    bytes_max: usize,
) -> Result<Wiped<Vec<u8>>> {
    let head = packed
        .first_chunk::<HEAD_BYTES>()
        .ok_or_else(|| Error::corrupt("block: cut envelope"))?;
    let length = u32::from_le_bytes([head[1], head[2], head[3], head[4]]) as usize;
    if length > bytes_max.min(ZSTD_BYTES_MAX) {
        return Err(Error::corrupt("block: impossible length"));
    }
    packed[1..HEAD_BYTES].copy_from_slice(&MAGIC);
    let mut plain = Wiped::new(vec![0; length]);
    match with_context(|context| context.open(&packed[1..], dictionary, &mut plain))? {
        Some(written) if written == length => Ok(plain),
        _ => Err(Error::corrupt("block: does not decompress")),
    }
}

/// What opens blocks on one thread.
struct Context {
    context: DCtx<'static>,
    /// Where literals go that mean nothing.
    cover: Vec<u8>,
    /// Nothing of the block before is left in the context.
    is_covered: bool,
}

fn with_context<T>(use_it: impl FnOnce(&mut Context) -> T) -> Result<T> {
    thread_local! {
        static CONTEXT: RefCell<Option<Context>> = const { RefCell::new(None) };
    }
    CONTEXT.with_borrow_mut(|slot| {
        if slot.is_none() {
            *slot = Some(Context {
                context: DCtx::try_create().ok_or_else(no_memory)?,
                cover: Vec::new(),
                is_covered: true,
            });
        }
        let context = slot.as_mut().expect("made just above");
        let used = use_it(context);
        if !context.is_covered {
            // Freed, it is wiped as a whole.
            *slot = None;
        }
        Ok(used)
    })
}

impl Context {
    fn open(
        &mut self,
        frame: &[u8],
        dictionary: Option<&Dictionary>,
        plain: &mut [u8],
    ) -> Option<usize> {
        let opened = match dictionary {
            Some(Dictionary { digested }) => {
                self.context
                    .decompress_using_ddict(&mut *plain, frame, digested)
            }
            None => self.context.decompress(&mut *plain, frame),
        };
        self.forget(plain.len());
        opened.ok()
    }

    /// Overwrites the literals of a block of so many bytes with zeros.
    fn forget(&mut self, bytes: usize) {
        let literals = bytes.min(LITERALS_BYTES_MAX);
        if literals > self.cover.len() {
            self.cover.resize(literals, 0);
        }
        let covered = self
            .context
            .decompress(&mut self.cover[..literals], &zeros(literals));
        self.is_covered = covered.ok() == Some(literals);
        debug_assert!(self.is_covered, "zstd keeps literals elsewhere");
    }
}

/// A frame of one block that has nothing but literals, all of them zero: so many are written to where literals are kept.
///
/// ```text
/// magic ×4 │ no content size │ window of 128 KiB │ last block, compressed, 5 bytes ×3 │ one literal repeated, 20 bits ×3 │ 0 │ no sequences
/// ```
fn zeros(literals: usize) -> [u8; 14] {
    let block = 1u32 | 2 << 1 | 5 << 3;
    let head = 1u32 | 3 << 2 | (literals as u32) << 4;
    let ([b0, b1, b2, _], [h0, h1, h2, _]) = (block.to_le_bytes(), head.to_le_bytes());
    let [m0, m1, m2, m3] = MAGIC;
    [m0, m1, m2, m3, 0, 7 << 3, b0, b1, b2, h0, h1, h2, 0, 0]
}

fn no_memory() -> Error {
    Error::Full {
        what: "zstd: no memory for a context".into(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sstable::tests::Dice;

    const METHOD: u8 = 9;

    fn text(dice: &mut Dice, bytes: usize) -> Vec<u8> {
        let words = ["one ", "two ", "three ", "infinite ", "\0\0\x01\x02", "zz"];
        let mut text = Vec::new();
        while text.len() < bytes {
            text.extend_from_slice(words[dice.next() as usize % words.len()].as_bytes());
            text.push(dice.next() as u8);
        }
        text.truncate(bytes);
        text
    }

    #[test]
    fn a_block_of_zeros_covers_what_a_block_may_have_left() {
        let cover = |bytes| with_context(|context| context.forget(bytes)).expect("memory");
        for bytes in [0, 1, 100, 4096, LITERALS_BYTES_MAX, ZSTD_BYTES_MAX] {
            cover(bytes);
        }
        let mut out = vec![7; 5000];
        let opened = DCtx::create().decompress(&mut out[..], &zeros(5000));
        assert_eq!((opened.ok(), out), (Some(5000), vec![0; 5000]));
    }

    #[test]
    fn a_block_opens_with_its_dictionary_and_with_no_other() {
        let mut dice = Dice::new(5);
        let content = text(&mut dice, 20_000);
        let plain = [
            &content[3000..3900],
            &text(&mut dice, 400),
            &content[9000..9500],
        ]
        .concat();
        let packed = Compressor::new(3, Some(&content)).expect("memory");
        let packed = { packed }.pack(METHOD, &plain).expect("it shrinks");
        let without = Compressor::new(3, None)
            .expect("memory")
            .pack(METHOD, &plain);
        assert!(packed.len() < without.expect("it shrinks").len());
        let dictionary = Dictionary::decode(&Dictionary::encode(&content)).expect("whole");
        let opened = unpack(packed.clone(), Some(&dictionary), 5000).expect("whole");
        assert_eq!(*opened, plain);
        let mut other = content.clone();
        other.rotate_left(777);
        let other = Dictionary::decode(&Dictionary::encode(&other)).expect("whole");
        let wrong = unpack(packed.clone(), Some(&other), 5000);
        assert!(wrong.is_err() || *wrong.expect("opened") != plain);
        let none = unpack(packed, None, 5000);
        assert!(none.is_err() || *none.expect("opened") != plain);
    }

    #[test]
    fn lies_about_length_and_dictionaries_that_are_none_are_corrupt() {
        let plain = [7; 5000];
        let packed = Compressor::new(1, None)
            .expect("memory")
            .pack(METHOD, &plain);
        let packed = packed.expect("it shrinks");
        assert!(packed.len() < 40);
        assert!(unpack(packed.clone(), None, 4999).is_err());
        for length in [0u32, 4999, 5001, 1 << 20, u32::MAX] {
            let mut lie = packed.clone();
            lie[1..5].copy_from_slice(&length.to_le_bytes());
            assert!(unpack(lie, None, usize::MAX).is_err(), "{length}");
        }
        assert!(unpack(Wiped::new(vec![METHOD; 4]), None, 10).is_err());
        let trained = [&DICTIONARY_MAGIC[..], &[1; 30]].concat();
        assert!(Dictionary::is_ambiguous(&trained));
        for wrong in [
            &[][..],
            &[DICTIONARY_KIND],
            &[2, 1, 1],
            &vec![DICTIONARY_KIND; DICTIONARY_BYTES_MAX + 2],
            &Dictionary::encode(&trained),
        ] {
            assert!(Dictionary::decode(wrong).is_err());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_is_packed_comes_back(seed: u64, level in -7i32..=19, bytes in 0usize..9000, with: bool) {
            let mut dice = Dice::new(seed);
            let content = text(&mut dice, 3000);
            let plain = text(&mut dice, bytes);
            let mut compressor = Compressor::new(level, with.then_some(&content[..])).expect("memory");
            let dictionary = Dictionary::decode(&Dictionary::encode(&content)).expect("whole");
            let dictionary = with.then_some(&dictionary);
            for plain in [&plain[..], &plain[bytes / 2..]] {
                if let Some(packed) = compressor.pack(METHOD, plain) {
                    prop_assert_eq!(packed[0], METHOD);
                    prop_assert_eq!(&unpack(packed, dictionary, bytes).expect("whole")[..], plain);
                }
            }
        }

        #[test]
        fn mutated_blocks_never_panic(seed: u64, at: prop::sample::Index, flip in 1u8..) {
            let mut dice = Dice::new(seed);
            let content = text(&mut dice, 3000);
            let dictionary = Dictionary::decode(&Dictionary::encode(&content)).expect("whole");
            let mut compressor = Compressor::new(3, Some(&content)).expect("memory");
            if let Some(mut packed) = compressor.pack(METHOD, &text(&mut dice, 2000)) {
                let at = at.index(packed.len());
                packed[at] ^= flip;
                let _ = unpack(packed.clone(), Some(&dictionary), 4096);
                packed.truncate(at);
                let _ = unpack(packed, Some(&dictionary), 4096);
            }
        }
    }
}
