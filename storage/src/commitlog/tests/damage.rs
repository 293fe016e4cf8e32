//! What is torn and what is damaged, and who is told.

use super::*;

#[test]
fn a_torn_tail_ends_the_log() {
    let mut world = World::written(3, 5, 4);
    let (path, offset, header) = find(&world, 5);
    let mut bytes = world.disk.contents(&path).unwrap();
    let places = header.places();
    bytes[offset + places.shares..offset + places.shares + 8].fill(0);
    world.disk.replace(&path, Some(bytes));
    let (mut log, recovered) = world.open();
    assert_eq!(recovered.last_sequence, 4);
    assert_eq!(recovered.damage, []);
    // The dead group stays dead, also for later lives, and its number is given again.
    world.commit(&mut log, 5).unwrap();
    drop(log);
    let (_, recovered) = world.open();
    assert_eq!(recovered.damage, []);
    assert_eq!(sequences(&recovered, A), [1, 2, 3, 4, 5]);
    world.check_shares(&recovered).unwrap();
}

#[test]
fn a_tail_cut_before_the_watermark_is_corrupt() {
    let mut world = World::written(4, 5, 5);
    let (path, offset, _) = find(&world, 4);
    let mut bytes = world.disk.contents(&path).unwrap();
    bytes[offset..].fill(0);
    world.disk.replace(&path, Some(bytes));
    let (mut log, recovered) = world.open();
    let groups = DamageScope::Groups { first: 4, last: 5 };
    assert!(
        serious(&recovered)
            .iter()
            .any(|damage| damage.scope == groups),
        "{:?}",
        recovered.damage
    );
    // Their numbers are not given again.
    assert_eq!(recovered.last_sequence, 5);
    world.commit(&mut log, 6).unwrap();
}

#[test]
fn an_unreadable_group_with_a_later_one_behind_it_is_corrupt_and_named() {
    let mut world = World::written(5, 5, 0);
    let (path, offset, header) = find(&world, 3);
    let length = header.pages as usize * PAGE;
    let mut bytes = world.disk.contents(&path).unwrap();
    bytes[offset..offset + length].fill(0x5a);
    world.disk.replace(&path, Some(bytes));
    let (_, recovered) = world.open();
    let damage = serious(&recovered);
    assert_eq!(damage.len(), 1, "{damage:?}");
    assert_eq!(damage[0].scope, DamageScope::Groups { first: 3, last: 3 });
    assert_eq!(damage[0].offset, offset as u64);
    assert_eq!(recovered.last_sequence, 5);
    assert_eq!(sequences(&recovered, A), [1, 2, 4, 5]);
}

#[test]
fn a_lost_group_that_named_a_key_takes_no_later_one_along() {
    for lost in [1, 2] {
        let mut world = World::written(15, 5, 0);
        let places: Vec<_> = (1..=lost).map(|group| find(&world, group)).collect();
        for (path, offset, header) in places {
            let length = header.pages as usize * PAGE;
            let mut bytes = world.disk.contents(&path).unwrap();
            bytes[offset..offset + length].fill(0);
            world.disk.replace(&path, Some(bytes));
        }
        let (_, recovered) = world.open();
        let damage = serious(&recovered);
        assert_eq!(damage.len(), 1, "{damage:?}");
        let groups = DamageScope::Groups {
            first: 1,
            last: lost,
        };
        assert_eq!(damage[0].scope, groups);
        let left: Vec<u64> = (lost + 1..=5).collect();
        assert_eq!(sequences(&recovered, A), left);
        world.check_shares(&recovered).unwrap();
    }
}

#[test]
fn a_damaged_share_stops_its_table_and_names_the_groups_other_members() {
    let mut world = World::written(6, 5, 0);
    let (path, offset, header) = find(&world, 4);
    let second_share = offset + header.places().shares + header.shares[0].length as usize;
    world.disk.flip(&path, second_share + 3, 0);
    let (_, recovered) = world.open();
    let damage = serious(&recovered);
    assert_eq!(damage.len(), 1, "{damage:?}");
    let scope = DamageScope::Shares {
        sequence: 4,
        damaged: vec![B],
        members: vec![A, B],
    };
    assert_eq!(damage[0].scope, scope);
    assert_eq!(sequences(&recovered, A), [1, 2, 3, 4, 5]);
    assert_eq!(sequences(&recovered, B), [2]);
}

#[test]
fn one_of_two_headers_damaged_is_survived_and_reported() {
    let (path, offset, header) = find(&World::written(7, 5, 5), 3);
    let places = header.places();
    let spots = [
        offset + 20,
        offset + places.second_header + 20,
        offset + places.trailer + 5,
        offset + places.trailer + 30,
        100,
        PAGE + 100,
        300,
    ];
    for spot in spots {
        let mut world = World::written(7, 5, 5);
        world.disk.flip(&path, spot, 3);
        let (_, recovered) = world.open();
        assert_eq!(serious(&recovered), Vec::<&Damage>::new(), "byte {spot}");
        assert_eq!(recovered.damage.len(), 1, "byte {spot}");
        assert_eq!(sequences(&recovered, A), [1, 2, 3, 4, 5]);
    }
}

#[test]
fn a_first_page_wiped_whole_is_found_from_behind() {
    // Table B's share reaches beyond the first page, so the second header lies elsewhere.
    let world = World::written(8, 8, 0);
    let (path, offset, header) = find(&world, 8);
    assert!(header.pages > 1);
    let mut bytes = world.disk.contents(&path).unwrap();
    bytes[offset..offset + PAGE].fill(0);
    world.disk.replace(&path, Some(bytes));
    let mut again = World::written(8, 8, 8);
    let damaged = world.disk.contents(&path);
    again.disk.replace(&path, damaged);
    let (_, recovered) = again.open();
    let damage = serious(&recovered);
    assert!(
        matches!(
            &damage[..],
            [Damage {
                scope: DamageScope::Shares { sequence: 8, .. },
                ..
            }]
        ),
        "{damage:?}"
    );
}

#[test]
fn no_flipped_bit_of_a_closed_log_passes_unseen() {
    let closed = |seed| {
        let mut world = World::new(seed);
        let (mut log, _) = world.open();
        for sequence in 1..=6 {
            world.commit(&mut log, sequence).unwrap();
        }
        world.env.run(log.close(true)).unwrap();
        drop(log);
        world.env.drop_tasks();
        world.disk.crash(Crash::Kill);
        world
    };
    // A segment that is prepared and not begun counts as absent, whatever is in it.
    let is_begun = |path: &String| {
        let bytes = closed(9).disk.contents(path).unwrap();
        bytes.iter().any(|byte| *byte != 0)
    };
    let mut paths = closed(9).disk.paths();
    paths.retain(|path| path.contains("segment") && is_begun(path));
    let mut step = 0;
    for path in paths {
        let length = closed(9).disk.contents(&path).unwrap().len();
        let mut byte = 0;
        while byte < length {
            let mut world = closed(9);
            world.disk.flip(&path, byte, (byte % 8) as u8);
            let (log, recovered) = world.open();
            drop(log);
            assert!(!recovered.damage.is_empty(), "{path} byte {byte} passed");
            world.check_shares(&recovered).unwrap();
            step += 1;
            byte += 251 + step % 97;
        }
    }
}

#[test]
fn swapped_groups_and_repeated_groups_are_seen() {
    // Groups 1 and 3 have one share and, here, the same length.
    let mut world = World::written(10, 4, 0);
    let (path, first, one) = find(&world, 1);
    let (_, third, three) = find(&world, 3);
    assert_eq!(one.pages, three.pages);
    let length = one.pages as usize * PAGE;
    let original = world.disk.contents(&path).unwrap();
    let mut swapped = original.clone();
    swapped[first..first + length].copy_from_slice(&original[third..third + length]);
    swapped[third..third + length].copy_from_slice(&original[first..first + length]);
    world.disk.replace(&path, Some(swapped));
    let (_, recovered) = world.open();
    assert!(!serious(&recovered).is_empty());

    let mut world = World::written(10, 4, 0);
    let end = groups_in(&original)
        .values()
        .map(|(offset, header)| offset + header.pages as usize * PAGE)
        .max();
    let end = end.unwrap();
    let mut repeated = original.clone();
    repeated[end..end + length].copy_from_slice(&original[third..third + length]);
    world.disk.replace(&path, Some(repeated));
    let (_, recovered) = world.open();
    assert!(
        serious(&recovered)[0].what.contains("second time"),
        "{:?}",
        recovered.damage
    );
    assert_eq!(sequences(&recovered, A), [1, 2, 3, 4]);
}

/// What is lost, by segment.
fn scopes(recovered: &Recovered) -> Vec<(u64, DamageScope)> {
    let damage = serious(recovered).into_iter();
    damage
        .map(|damage| (damage.segment, damage.scope.clone()))
        .collect()
}

#[test]
fn swapped_missing_and_foreign_segments_are_seen() {
    let damaged = |change: &dyn Fn(&SimulatedDisk)| {
        let mut world = World::written(11, 40, 40);
        change(&world.disk);
        let (_, recovered) = world.open();
        assert!(!serious(&recovered).is_empty());
        assert_eq!(recovered.last_sequence, 40);
        // Again: what a start has stored makes nobody forget what is lost.
        for _ in 0..2 {
            let (_, again) = world.open();
            assert_eq!(scopes(&again), scopes(&recovered));
        }
        recovered
    };
    damaged(&|disk| {
        let (two, three) = (disk.contents(&segment(2)), disk.contents(&segment(3)));
        disk.replace(&segment(2), three);
        disk.replace(&segment(3), two);
    });
    damaged(&|disk| disk.replace(&segment(1), None));
    damaged(&|disk| disk.replace(&segment(2), None));
    damaged(&|disk| {
        let newest = disk.paths().into_iter().rfind(|path| {
            path.contains("segment") && disk.contents(path).unwrap().iter().any(|&byte| byte != 0)
        });
        disk.replace(&newest.unwrap(), None);
    });
    let foreign = World::written(12, 40, 40).disk.contents(&segment(2));
    let recovered = damaged(&|disk| disk.replace(&segment(2), foreign.clone()));
    // Its neighbours are read all the same.
    assert!(sequences(&recovered, A).contains(&1) && sequences(&recovered, A).contains(&40));
}

#[test]
fn a_file_with_an_absurd_number_is_named_and_stops_nobody() {
    let mut world = World::written(24, 5, 5);
    let foreign = world.disk.contents(&segment(1));
    world.disk.replace(&segment(u64::MAX), foreign.clone());
    world.disk.replace(&segment(1 << 40), foreign);
    let (mut log, recovered) = world.open();
    assert_eq!(serious(&recovered), Vec::<&Damage>::new());
    assert_eq!(recovered.damage.len(), 2);
    world.commit(&mut log, 6).unwrap();
}

#[test]
fn a_lost_watermark_is_corrupt_and_one_damaged_slot_is_survived() {
    let mut world = World::written(13, 5, 3);
    world.disk.replace("log/watermark", None);
    // Twice: a first start must not store a new one and make the second believe it.
    for _ in 0..2 {
        assert!(matches!(world.try_open(), Err(Error::Corrupt { .. })));
    }
    let backend = SimulatedBackend::open(&world.disk).unwrap();
    let recovered = world.env.run(inspect(&backend, &world.service)).unwrap();
    assert!(recovered.damage.iter().any(|damage| damage.segment == 0));
    assert!(!serious(&recovered).is_empty());

    for slot in 0..2 {
        let mut world = World::written(13, 5, 3);
        world.disk.flip("log/watermark", slot * PAGE + 200, 0);
        let (_, recovered) = world.open();
        assert_eq!(recovered.damage, []);
        assert_eq!(recovered.unfinished.len(), 1);
        assert_eq!(recovered.last_sequence, 5);
    }
}
