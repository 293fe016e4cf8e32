//! From a data key to sealed blocks, and back.
//!
//! A structure (an SSTable component, a table's share of a log segment, a manifest section) is a row of blocks under one data
//! key. Its *ordinal* is a block's place in that row, counted by the sealer from 0.
//!
//! ```text
//! sealed block            ciphertext (as long as the plaintext) | tag 16
//!
//! nonce                   0 0 0 0 | ordinal u64 BE
//!
//! associated data         format version u16 BE = 1
//!                         structure id   16
//!                         structure kind u8
//!                         ordinal        u64 BE
//!                         end            u8, 1 for the structure's last block, else 0
//!                         context        what else the caller binds, to the end
//! ```
//!
//! Nothing of the nonce or of the associated data is stored with the block: whoever opens it says where it stands, and a block
//! that stands elsewhere does not open. A reader that reaches the end flag knows that nothing was cut off.
//!
//! What must hold:
//! - A `Sealer` is born with a freshly drawn data key (`KeyRing::seal_new`) and there is no other birth. It counts its own nonces,
//!   cannot be cloned, and stops at its first error, at its end block and at its limits. So no nonce ever repeats under a key.
//! - An unwrapped data key gives an `Opener`, which cannot seal.
//! - Only a `Sealer` makes a `Sealed`, and only a `Sealed` may be appended to a file.

mod associated;
mod opener;
mod sealed;
mod sealer;

pub use opener::Opener;
pub use sealed::{AsSealed, Sealed, SealedBuf};
pub use sealer::{SEALER_BLOCKS_MAX, SEALER_BYTES_MAX, Sealer};

pub use crate::aead::TAG_BYTES as SEAL_TAG_BYTES;
