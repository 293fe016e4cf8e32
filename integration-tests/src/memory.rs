//! Looks for secrets in the memory of a running process: every readable mapping of /proc/PID/maps, through /proc/PID/mem. Needs to be root.
//!
//! A secret may have been overwritten in part (an allocator puts its own pointers into what was freed), so a needle counts as found when any eight bytes of it
//! are, taken at every eighth byte. Needles must be random: eight bytes that chance makes in a gigabyte of memory would be one find in ten billion runs.
//!
//! Every find says in which mapping it lies and what kind that is. Thread stacks are told apart, because nobody promises to wipe them. A thread that runs, or that
//! waits for a processor, does not say where its stack is: on a busy machine some always do. So the process is stopped while we look, and goes on afterwards.

use std::collections::HashMap;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use crate::system::{go_on, pause};

/// Bytes of a piece that is looked for.
const PIECE_BYTES: usize = 8;
const READ_BYTES: usize = 1 << 20;
/// Bits of a piece that the first look asks for; most places in memory are refused by it.
const SIEVE_BITS: u32 = 22;
/// Bytes around a find that are told with it.
const AROUND_BYTES: usize = 32;

/// How much of a mapping that a thread's stack pointer is in is its stack, from the lowest address on: what Rust gives a thread. The kernel may show what lies
/// behind it as one mapping with it.
const STACK_BYTES: usize = 2 << 20;
/// How long a process may take to stop.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// Something that may not be in memory.
pub struct Needle {
    /// What kind of thing it is: finds are counted by it.
    pub kind: &'static str,
    /// At least eight random bytes.
    pub bytes: Vec<u8>,
}

/// One piece of a needle, found.
pub struct Find {
    pub kind: &'static str,
    /// Which of the needles, and where in it the piece begins.
    pub needle: usize,
    pub offset: usize,
    pub address: usize,
    pub mapping: String,
    /// In the stack of a thread.
    pub is_stack: bool,
    around: Vec<u8>,
}

impl fmt::Display for Find {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} {} at {} found at {:#x} in {}{}:",
            self.kind,
            self.needle,
            self.offset,
            self.address,
            if self.is_stack { "the stack " } else { "" },
            self.mapping
        )?;
        let text: String = self
            .around
            .iter()
            .map(|byte| match byte {
                b' '..=b'~' => char::from(*byte),
                0 => '.',
                _ => '?',
            })
            .collect();
        write!(formatter, " {text}")
    }
}

/// Pieces to look for, by their bytes.
pub struct Haystack {
    pieces: HashMap<u64, (usize, usize)>,
    sieve: Vec<u64>,
    needles: Vec<Needle>,
}

/// One line of /proc/PID/maps.
struct Mapping {
    start: usize,
    end: usize,
    text: String,
}

impl Haystack {
    /// Prepares the search for these needles.
    pub fn new(needles: Vec<Needle>) -> Haystack {
        let mut haystack = Haystack {
            pieces: HashMap::new(),
            sieve: vec![0; 1 << (SIEVE_BITS - 6)],
            needles: Vec::new(),
        };
        for (index, needle) in needles.iter().enumerate() {
            assert!(
                needle.bytes.len() >= PIECE_BYTES,
                "{} {index} is too short to mean anything",
                needle.kind
            );
            for (piece, bytes) in needle.bytes.chunks_exact(PIECE_BYTES).enumerate() {
                let word = u64::from_le_bytes(bytes.try_into().expect("a piece has eight bytes"));
                haystack.pieces.insert(word, (index, piece * PIECE_BYTES));
                let bit = sieve_bit(word);
                haystack.sieve[bit / 64] |= 1 << (bit % 64);
            }
        }
        haystack.needles = needles;
        haystack
    }

    /// Everything of them that is in the memory of a process now. Meanwhile it stands still.
    pub fn search(&self, pid: u32) -> io::Result<Vec<Find>> {
        let _still = Still::hold(pid)?;
        let memory = File::open(format!("/proc/{pid}/mem"))?;
        let stacks = stack_pointers(pid)?;
        let mut finds = Vec::new();
        let mut buffer = vec![0; READ_BYTES];
        for mapping in mappings(pid)? {
            let is_whole_stack = mapping.text.contains("[stack");
            let begins_with_stack = stacks
                .iter()
                .any(|pointer| (mapping.start..mapping.end).contains(pointer));
            let mut at = mapping.start;
            while at < mapping.end {
                let wanted = buffer.len().min(mapping.end - at);
                // A mapping may go while we look, and some pages of a device or of the kernel cannot be read.
                let Ok(got) = memory.read_at(&mut buffer[..wanted], at as u64) else {
                    break;
                };
                if got < PIECE_BYTES {
                    break;
                }
                self.search_in(&buffer[..got], |place, (needle, offset)| {
                    let around = place.saturating_sub(AROUND_BYTES)..got.min(place + AROUND_BYTES);
                    finds.push(Find {
                        kind: self.needles[needle].kind,
                        needle,
                        offset,
                        address: at + place,
                        mapping: mapping.text.clone(),
                        is_stack: is_whole_stack
                            || begins_with_stack && at + place < mapping.start + STACK_BYTES,
                        around: buffer[around].to_vec(),
                    });
                });
                // Pieces may lie across two reads.
                at += match got == mapping.end - at {
                    true => got,
                    false => got - (PIECE_BYTES - 1),
                };
            }
        }
        Ok(finds)
    }

    fn search_in(&self, bytes: &[u8], mut found: impl FnMut(usize, (usize, usize))) {
        for (place, window) in bytes.windows(PIECE_BYTES).enumerate() {
            let word = u64::from_le_bytes(window.try_into().expect("windows of eight"));
            let bit = sieve_bit(word);
            if self.sieve[bit / 64] & (1 << (bit % 64)) != 0
                && let Some(piece) = self.pieces.get(&word)
            {
                found(place, *piece);
            }
        }
    }
}

fn sieve_bit(word: u64) -> usize {
    (word.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (64 - SIEVE_BITS)) as usize
}

fn mappings(pid: u32) -> io::Result<Vec<Mapping>> {
    let text = fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let parse = |text| usize::from_str_radix(text, 16).ok();
    let readable = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        words.next()?.starts_with('r').then_some(())?;
        Some(Mapping {
            start: parse(start)?,
            end: parse(end)?,
            text: line.split_whitespace().collect::<Vec<_>>().join(" "),
        })
    });
    Ok(readable.collect())
}

/// A process that stands still, until dropped.
struct Still(u32);

impl Still {
    fn hold(pid: u32) -> io::Result<Still> {
        pause(pid);
        let still = Still(pid);
        let deadline = Instant::now() + STOP_LIMIT;
        while !still.is_still()? {
            if Instant::now() > deadline {
                return Err(io::Error::other("the process does not stop"));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(still)
    }

    /// Whether each thread is stopped: the third word of its `stat`, behind a name in brackets.
    fn is_still(&self) -> io::Result<bool> {
        for task in fs::read_dir(format!("/proc/{}/task", self.0))? {
            let text = fs::read_to_string(task?.path().join("stat"))?;
            let state = text.rsplit_once(") ").map(|(_, rest)| rest.as_bytes()[0]);
            if state != Some(b'T') {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Drop for Still {
    fn drop(&mut self) {
        go_on(self.0);
    }
}

/// Where the stack of each thread of a process that stands still ends.
fn stack_pointers(pid: u32) -> io::Result<Vec<usize>> {
    let mut pointers = Vec::new();
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let path = task?.path().join("syscall");
        let text = fs::read_to_string(&path)?;
        let words: Vec<&str> = text.split_whitespace().collect();
        let pointer = words.iter().rev().nth(1);
        let pointer =
            pointer.and_then(|word| usize::from_str_radix(word.trim_start_matches("0x"), 16).ok());
        let says_nothing = || io::Error::other(format!("{}: {text}", path.display()));
        pointers.push(pointer.ok_or_else(says_nothing)?);
    }
    Ok(pointers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::mix;

    /// A process of its own: this one holds the needle wherever the test names it.
    #[test]
    fn a_needle_in_a_childs_memory_is_found_and_one_that_is_nowhere_is_not() {
        let word = |number| format!("{:016x}", mix(number));
        let (here, nowhere) = (word(1), word(2));
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .env("NEEDLE", &here)
            .spawn()
            .expect("sleep can be started");
        let needle = |text: &str| Needle {
            kind: "word",
            bytes: text.as_bytes().to_vec(),
        };
        let haystack = Haystack::new(vec![needle(&here), needle(&nowhere)]);
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        let mut finds = Vec::new();
        // It is not `sleep` yet at once.
        while finds.is_empty() && std::time::Instant::now() < deadline {
            finds = haystack.search(child.id()).expect("we may read our child");
        }
        child.kill().expect("the child runs");
        child.wait().expect("the child ends");
        assert!(finds.iter().any(|find| find.needle == 0 && find.is_stack));
        assert!(finds.iter().all(|find| find.needle == 0));
    }
}
