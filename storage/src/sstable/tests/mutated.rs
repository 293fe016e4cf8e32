//! Plaintext that no correct writer made: decoders answer with errors or with something, but never with a panic or a large allocation.

use super::super::block::{BlockBuilder, DataBlock, SectionHead};
use super::super::index::{Child, Node, NodeBuilder, Separator, Target};
use super::super::run::Run;
use super::*;
use crate::model::PartitionBound;
use crate::read::ReadRow;

fn sample_block(dice: &mut Dice) -> Vec<u8> {
    let mut builder = BlockBuilder::default();
    for token in [3i64, 4, 4, 900] {
        let mut contents = random_partition(dice, key(token, "a key"));
        contents.items.truncate(60);
        let static_row = contents.head.static_row.as_ref().map(|row| {
            let mut encoded = Vec::new();
            row.encode(&mut encoded);
            encoded
        });
        builder.begin_section(&SectionHead {
            key: &contents.head.key,
            deletion: contents.head.deletion,
            static_row: static_row.as_deref(),
            continued: dice.one_in(2),
            open: dice.one_in(2).then(|| deletion(3)),
        });
        for item in &contents.items {
            match &item.row {
                Some(row) => {
                    let mut encoded = Vec::new();
                    row.encode(&mut encoded);
                    builder.push_row(&item.position.0, item.after, &encoded);
                }
                None => builder.push_boundary(&item.position.0, item.before, item.after),
            }
        }
        builder.end_section(dice.one_in(2));
    }
    builder.finish().to_vec()
}

fn walk_block(bytes: Vec<u8>) -> Result<()> {
    let block = DataBlock::parse(bytes.into())?;
    let mut items = Run::default();
    for bound in [
        PartitionBound::MIN,
        PartitionBound::After(key(4, "a key")),
        PartitionBound::MAX,
    ] {
        let _ = block.seek(&bound);
        let _ = block.find(bound.token(), b"a key");
    }
    for at in 0..block.sections().min(100) {
        let Ok(section) = block.section(at) else {
            continue;
        };
        let _ = section.run_of(b"row000010");
        let _ = section.find(b"row000010");
        for run in 0..section.runs().min(100) {
            let _ = section.take_apart(run, &mut items);
            for at in 0..items.len() {
                let _ = items.bare_row(at).map(|row| row.to_read_row().into_row());
                let _ = items.take(at).map(|item| item.row.map(ReadRow::into_row));
            }
        }
    }
    Ok(())
}

#[test]
fn mutated_data_blocks_never_panic() {
    for seed in 0..20 {
        let mut dice = Dice::new(seed);
        let good = sample_block(&mut dice);
        walk_block(good.clone()).expect("whole");
        for _ in 0..2000 {
            let _ = walk_block(mutate(&mut dice, &good));
        }
        for cut in 0..good.len().min(400) {
            let _ = walk_block(good[..cut].to_vec());
            let _ = walk_block(good[cut..].to_vec());
        }
    }
}

fn mutate(dice: &mut Dice, good: &[u8]) -> Vec<u8> {
    let mut bad = good.to_vec();
    for _ in 0..=dice.below(4) {
        // Half of the damage goes to the end, where counts and offsets are.
        let from_end = if dice.one_in(2) {
            80.min(bad.len() as u64)
        } else {
            bad.len() as u64
        };
        let at = bad.len() - 1 - dice.below(from_end) as usize;
        bad[at] = [0, 0xFF, 0x7F, 0x80, dice.next() as u8][dice.below(5) as usize];
    }
    bad
}

#[test]
fn mutated_index_blocks_never_panic() {
    for seed in 0..20 {
        let mut dice = Dice::new(seed);
        let mut builder = NodeBuilder::default();
        for n in 0..50u64 {
            let name = dice.bytes(n % 5);
            let clustering = dice.bytes(n % 3);
            let pushed = builder.push(&Child {
                separator: Separator {
                    token: n as i64 / 2,
                    key: &name,
                    clustering: &clustering,
                },
                block: n as u32,
                offset: n * 100,
                sealed_bytes: 100,
                first_row: n * 7,
                rows: 7,
            });
            assert!(pushed);
        }
        let good = builder.finish().to_vec();
        for _ in 0..2000 {
            let Ok(node) = Node::parse(mutate(&mut dice, &good).into()) else {
                continue;
            };
            let bound = PartitionBound::Before(key(7, "x"));
            for target in [
                Target::Bound(&bound),
                Target::EndOf {
                    token: 9,
                    key: b"y",
                },
                Target::Inside {
                    token: 11,
                    key: b"z",
                    clustering: b"c",
                },
            ] {
                if let Ok(child) = node.find(&target) {
                    let _ = (
                        node.location(child),
                        node.block(child),
                        node.first_row(child),
                    );
                }
            }
            let _ = node.find_block(dice.next() as u32);
            let _ = node.location(usize::MAX / 8);
        }
    }
}

#[test]
fn a_node_finds_what_counting_finds() {
    let separators: Vec<(i64, &[u8], &[u8])> = vec![
        (i64::MIN, b"", b""),
        (5, b"", b""),
        (5, b"b", b""),
        (5, b"b", b"m"),
        (5, b"b", b"t"),
        (5, b"c", b""),
        (9, b"", b""),
        (9, b"k", b"a"),
    ];
    let mut builder = NodeBuilder::default();
    for (n, (token, key, clustering)) in separators.iter().enumerate() {
        let separator = Separator {
            token: *token,
            key,
            clustering,
        };
        let n = n as u64;
        assert!(builder.push(&Child {
            separator,
            block: n as u32,
            offset: 1000 + n * 10,
            sealed_bytes: 10,
            first_row: 500 + n * 3,
            rows: 3,
        }));
    }
    let node = Node::parse(Bytes::copy_from_slice(&builder.finish())).expect("whole");
    let find = |target: Target<'_>| node.find(&target).expect("whole");
    let at = |bound: PartitionBound| find(Target::Bound(&bound));
    assert_eq!(at(PartitionBound::MIN), 0);
    assert_eq!(at(PartitionBound::BeforeToken(Token(4))), 0);
    assert_eq!(at(PartitionBound::BeforeToken(Token(5))), 1);
    assert_eq!(at(PartitionBound::Before(key(5, "a"))), 1);
    assert_eq!(at(PartitionBound::Before(key(5, "b"))), 2);
    assert_eq!(at(PartitionBound::After(key(5, "b"))), 4);
    assert_eq!(at(PartitionBound::AfterToken(Token(5))), 5);
    assert_eq!(at(PartitionBound::MAX), 7);
    let inside = |clustering: &'static [u8]| {
        find(Target::Inside {
            token: 5,
            key: b"b",
            clustering,
        })
    };
    assert_eq!(
        [
            inside(b""),
            inside(b"l"),
            inside(b"m"),
            inside(b"s"),
            inside(b"z")
        ],
        [2, 2, 3, 3, 4]
    );
    assert_eq!(
        find(Target::EndOf {
            token: 9,
            key: b"k"
        }),
        7
    );
    for child in 0..separators.len() {
        let location = node.location(child).expect("whole");
        assert_eq!(
            (location.offset, location.sealed_bytes),
            (1000 + child as u64 * 10, 10)
        );
        assert_eq!(
            node.first_row(child).expect("whole"),
            500 + child as u64 * 3
        );
        assert_eq!(node.find_block(child as u32).expect("whole"), child);
    }
}
