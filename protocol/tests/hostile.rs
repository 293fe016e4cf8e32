//! Bytes from somebody who means harm, or whose memory is broken.
//!
//! A corpus of good frames is mutated, cut and spliced by a generator that starts from a printed seed; no decoder may panic,
//! loop or take more memory than arrived. Memory is judged by the process's peak address space, which a reservation shows in
//! even if it is never touched.

use bytes::{BufMut, BytesMut};
use palladium_protocol::request::{self, Request};
use palladium_protocol::types::{decode, validate};
use palladium_protocol::wire::segment::SegmentFormat;
use palladium_protocol::wire::{Compression, Encoder, Extras, Reader};
use palladium_protocol::{CqlType, Decoder, Frame, FrameLimits, Opcode, Version};

const SEED: u64 = 0x5eed_7401;
const ROUNDS: usize = 4_000;
/// What all of these tests together may add: their own corpora, and the allocator's habits.
const PEAK_GROWTH_BYTES_MAX: usize = 64 << 20;

/// xorshift64*: small, seeded, the same everywhere.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// Numbers that decoders trip over, and any others.
    fn byte(&mut self) -> u8 {
        match self.below(6) {
            0 => 0x00,
            1 => 0xff,
            2 => 0x7f,
            3 => 0x80,
            _ => self.next() as u8,
        }
    }

    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(4) {
            if bytes.is_empty() {
                return;
            }
            let at = self.below(bytes.len());
            match self.below(5) {
                0 => bytes[at] = self.byte(),
                1 => bytes[at] ^= 1 << self.below(8),
                2 => bytes.truncate(at),
                3 => bytes.insert(at, self.byte()),
                _ => {
                    let until = at + self.below(bytes.len() - at) + 1;
                    let piece = bytes[at..until].to_vec();
                    bytes.splice(at..at, piece);
                }
            }
        }
    }
}

/// Says which seed failed, and only then.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {:#x}", self.0);
        }
    }
}

fn put_string(out: &mut BytesMut, text: &str) {
    out.put_u16(text.len() as u16);
    out.put_slice(text.as_bytes());
}

/// Bodies of every request, with every part that a version has.
fn requests(version: Version) -> Vec<(Opcode, Vec<u8>)> {
    let body = |write: &dyn Fn(&mut BytesMut)| {
        let mut out = BytesMut::new();
        write(&mut out);
        out.to_vec()
    };
    let params = move |out: &mut BytesMut, names: bool| {
        out.put_u16(1);
        let flags = 0x3f | if names { 0x40 } else { 0 };
        if version >= Version::V5 {
            out.put_u32(flags | 0x180);
        } else {
            out.put_u8(flags as u8);
        }
        out.put_u16(3);
        for length in [4, -1, -2] {
            if names {
                put_string(out, "name");
            }
            out.put_i32(length);
            if length == 4 {
                out.put_u32(42);
            }
        }
        out.put_i32(5000);
        out.put_i32(2);
        out.put_u16(7);
        out.put_u16(8);
        out.put_i64(1);
        if version >= Version::V5 {
            put_string(out, "ks");
            out.put_i32(1);
        }
    };
    let text = |out: &mut BytesMut| {
        out.put_i32(8);
        out.put_slice(b"SELECT 1");
    };
    vec![
        (Opcode::Options, Vec::new()),
        (
            Opcode::AuthResponse,
            body(&|out| {
                out.put_i32(3);
                out.put_slice(b"\0a\0");
            }),
        ),
        (
            Opcode::Startup,
            body(&|out| {
                out.put_u16(2);
                for text in ["CQL_VERSION", "3.4.7", "COMPRESSION", "lz4"] {
                    put_string(out, text);
                }
            }),
        ),
        (
            Opcode::Register,
            body(&|out| {
                out.put_u16(2);
                put_string(out, "STATUS_CHANGE");
                put_string(out, "SCHEMA_CHANGE");
            }),
        ),
        (
            Opcode::Query,
            body(&|out| {
                text(out);
                params(out, true);
            }),
        ),
        (
            Opcode::Prepare,
            body(&|out| {
                text(out);
                if version >= Version::V5 {
                    out.put_u32(1);
                    put_string(out, "ks");
                }
            }),
        ),
        (
            Opcode::Execute,
            body(&|out| {
                put_string(out, "sixteen byte id.");
                if version >= Version::V5 {
                    put_string(out, "sixteen byte id.");
                }
                params(out, false);
            }),
        ),
        (
            Opcode::Batch,
            body(&|out| {
                out.put_u8(0);
                out.put_u16(2);
                out.put_u8(0);
                text(out);
                out.put_u16(1);
                out.put_i32(-1);
                out.put_u8(1);
                put_string(out, "sixteen byte id.");
                out.put_u16(0);
                params(out, false);
            }),
        ),
    ]
}

/// Looks at everything a request shows.
fn use_up(frame: &Frame) {
    let _ = request::custom_payload(frame).map(|payload| payload.map(|map| map.iter().count()));
    let Ok(request) = Request::decode(frame) else {
        return;
    };
    let _ = format!("{request:?}");
    match request {
        Request::Startup(startup) => {
            let _ = (startup.cql_version(), startup.compression(frame.version));
            startup.options.iter().for_each(drop);
        }
        Request::Query(query) => {
            assert_eq!(
                query.params.values.iter().count(),
                query.params.values.len()
            );
            let named = query.params.values.iter_named().count();
            assert!(named == 0 || named == query.params.values.len());
        }
        Request::Execute(execute) => {
            assert_eq!(
                execute.params.values.iter().count(),
                execute.params.values.len()
            );
        }
        Request::Batch(batch) => {
            assert_eq!(batch.iter().count(), batch.len());
            for entry in batch.iter() {
                assert_eq!(entry.values.iter().count(), entry.values.len());
            }
        }
        Request::Register(register) => register.events().for_each(drop),
        Request::Options | Request::AuthResponse(_) | Request::Prepare(_) => {}
    }
}

/// Feeds bytes in pieces and takes what comes, to the end or to a refusal that closes.
fn drive(mut decoder: Decoder, bytes: &[u8], chance: &mut Chance) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(1 + chance.below(rest.len()));
        rest = after;
        decoder.feed(piece);
        loop {
            match decoder.next_frame() {
                Ok(None) => break,
                Ok(Some(frame)) => use_up(&frame),
                Err(error) if error.must_close() => return,
                Err(error) => drop(error.to_string()),
            }
        }
        assert!(decoder.input().len() <= bytes.len());
    }
}

#[derive(Clone, Copy)]
enum Framing {
    Envelopes(Version, Option<Compression>),
    Segments(SegmentFormat),
}

const FRAMINGS: [Framing; 7] = [
    Framing::Envelopes(Version::V3, None),
    Framing::Envelopes(Version::V4, None),
    Framing::Envelopes(Version::V5, None),
    Framing::Envelopes(Version::V4, Some(Compression::Lz4)),
    Framing::Envelopes(Version::V4, Some(Compression::Snappy)),
    Framing::Segments(SegmentFormat::Plain),
    Framing::Segments(SegmentFormat::Lz4),
];

impl Framing {
    fn version(self) -> Version {
        match self {
            Self::Envelopes(version, _) => version,
            Self::Segments(_) => Version::V5,
        }
    }

    fn decoder(self) -> Decoder {
        let mut decoder = Decoder::new(FrameLimits::default());
        match self {
            Self::Envelopes(_, compression) => decoder.use_compression(compression),
            Self::Segments(format) => decoder.use_segments(format),
        }
        decoder
    }

    fn encoder(self) -> Encoder {
        let mut encoder = Encoder::new();
        match self {
            Self::Envelopes(_, compression) => encoder.use_compression(compression),
            Self::Segments(format) => encoder.use_segments(format),
        }
        encoder
    }
}

fn mutated_streams() {
    let mut chance = Chance(SEED);
    let _seed = Seed(SEED);
    for framing in FRAMINGS {
        let version = framing.version();
        let mut encoder = framing.encoder();
        let mut corpus = BytesMut::new();
        for (opcode, body) in requests(version) {
            encoder.envelope(&mut corpus, version, 1, opcode, &Extras::NONE, |out| {
                out.put_slice(&body)
            });
            // Long enough to be compressed.
            encoder.envelope(
                &mut corpus,
                version,
                2,
                Opcode::Query,
                &Extras::NONE,
                |out| {
                    out.put_slice(&body);
                    out.put_bytes(7, 600);
                },
            );
        }
        encoder.flush(&mut corpus);
        drive(framing.decoder(), &corpus, &mut chance);
        for _ in 0..ROUNDS {
            let mut bytes = corpus.to_vec();
            chance.mutate(&mut bytes);
            drive(framing.decoder(), &bytes, &mut chance);
        }
    }
}

/// Bodies are mutated inside intact frames, so that checksums do not stop them.
fn mutated_bodies() {
    let mut chance = Chance(SEED + 1);
    let _seed = Seed(SEED + 1);
    for version in Version::ALL {
        for (opcode, body) in requests(version) {
            for _ in 0..ROUNDS {
                let mut body = body.clone();
                chance.mutate(&mut body);
                let mut out = BytesMut::new();
                Encoder::new().envelope(&mut out, version, 1, opcode, &Extras::NONE, |out| {
                    out.put_slice(&body)
                });
                if chance.below(4) == 0 {
                    // The custom payload that was not sent.
                    out[1] |= 0x04;
                }
                let mut decoder = Decoder::new(FrameLimits::default());
                decoder.feed(&out);
                use_up(&decoder.next_frame().unwrap().unwrap());
            }
        }
    }
}

/// Types and values that nobody encoded.
fn noise() {
    let mut chance = Chance(SEED + 2);
    let _seed = Seed(SEED + 2);
    for _ in 0..ROUNDS * 10 {
        let length = chance.below(64);
        let bytes: Vec<u8> = std::iter::repeat_with(|| chance.byte())
            .take(length)
            .collect();
        let mut reader = Reader::new(&bytes);
        if let Ok(ty) = CqlType::read_option(&mut reader) {
            let value = reader.rest();
            assert_eq!(decode(&ty, value).is_ok(), validate(&ty, value).is_ok());
            assert!(CqlType::from_class_name(&ty.class_name()).is_ok());
        }
        let class: String = bytes
            .iter()
            .map(|byte| {
                [
                    "ListType",
                    "(",
                    ")",
                    ",",
                    "MapType",
                    "UserType",
                    "6b",
                    ":",
                    "VectorType",
                    "Int32Type",
                    " ",
                ][usize::from(byte % 11)]
            })
            .collect();
        let _ = CqlType::from_class_name(&class);
        drive(Decoder::new(FrameLimits::default()), &bytes, &mut chance);
    }
}

/// Claims of gigabytes, each in a few bytes, on many connections at once.
fn empty_promises() -> Vec<Decoder> {
    let header = |length: u32| {
        let mut bytes = vec![4, 0, 0, 1, Opcode::Query as u8];
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes
    };
    let mut decoders = Vec::new();
    for length in [
        1 << 20,
        16 << 20,
        (16 << 20) + 1,
        1 << 30,
        u32::MAX >> 1,
        u32::MAX,
    ] {
        for _ in 0..100 {
            let mut decoder = Decoder::new(FrameLimits::default());
            decoder.feed(&header(length));
            let _ = decoder.next_frame();
            decoders.push(decoder);
        }
    }
    for compression in [Compression::Lz4, Compression::Snappy] {
        for _ in 0..100 {
            let mut decoder = Decoder::new(FrameLimits {
                body_bytes_max: usize::MAX,
            });
            decoder.use_compression(Some(compression));
            let mut bytes = header(14);
            bytes[1] = 0x01;
            // Read as LZ4's big-endian length, and as Snappy's varint.
            bytes.extend_from_slice(&[0x7f, 0xff, 0xff, 0xff]);
            bytes.extend_from_slice(&[0xff; 10]);
            decoder.feed(&bytes);
            assert!(decoder.next_frame().is_err());
            decoders.push(decoder);
        }
    }
    for bytes in [
        &b"\x7f\xff\xff\xff"[..],
        b"\x00\xff\xff\xff\x00\x00\x00\x00",
    ] {
        for ty in [
            CqlType::list(CqlType::Int),
            CqlType::map(CqlType::Text, CqlType::Empty),
        ] {
            assert!(decode(&ty, bytes).is_err());
        }
    }
    decoders
}

fn peak_bytes() -> usize {
    let status =
        std::fs::read_to_string("/proc/self/status").expect("Linux tells of its processes");
    let line = status
        .lines()
        .find(|line| line.starts_with("VmPeak:"))
        .expect("VmPeak is always there");
    let kib: usize = line
        .split_whitespace()
        .nth(1)
        .and_then(|kib| kib.parse().ok())
        .expect("in kB");
    kib * 1024
}

/// One test, because the peak is the whole process's.
#[test]
fn no_bytes_panic_a_decoder_or_buy_memory() {
    let before = peak_bytes();
    let decoders = empty_promises();
    mutated_streams();
    mutated_bodies();
    noise();
    drop(decoders);
    let growth = peak_bytes() - before;
    assert!(
        growth < PEAK_GROWTH_BYTES_MAX,
        "the address space grew by {growth} bytes"
    );
}
