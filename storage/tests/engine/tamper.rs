//! Somebody has had the disk: bits flipped, files cut, swapped, removed, older copies put back.
//!
//! `verify` names every one of them, and an engine that opens what is left answers rightly or with an error: never a wrong row, never a missing one.
//! `PALLADIUM_MUTATIONS` says how many (300), `PALLADIUM_SEED` from where.

use std::time::Duration;

use palladium_crypto::{Entropy, SeededEntropy};
use palladium_storage::Crash;

use crate::world::{Files, Rows, World, disk_of, files, id, inspect, small};

const TABLES: u8 = 3;

/// A folder, what its tables hold, and the folder as it was some time before.
struct Scene {
    world: World,
    files: Files,
    older: Files,
    expected: Vec<Rows>,
    was_stopped: bool,
}

/// A folder after a clean stop.
fn scene(seed: u64) -> Scene {
    let mut scene = running(seed);
    scene.world.stop().unwrap();
    scene.end();
    scene.was_stopped = true;
    scene
}

/// A folder whose server was killed, after the watermark had been stored.
fn killed(seed: u64) -> Scene {
    let mut scene = running(seed);
    scene.world.env.advance(Duration::from_secs(2));
    scene.end();
    scene
}

fn running(seed: u64) -> Scene {
    let mut world = World::with_tables(seed, small(), TABLES);
    let mut expected = vec![Rows::new(); TABLES.into()];
    let mut older = Files::new();
    for round in 0..3 {
        for table in 0..TABLES {
            for _ in 0..30 {
                let (place, value) = ((world.draw(12), world.draw(6)), world.draw(1 << 40));
                world.put(table, place, value);
                expected[usize::from(table)].insert(place, value);
            }
            // The last round stays in the log, but for one table.
            if round < 2 || table == 0 {
                world.flush(table).unwrap();
            }
        }
        match round {
            0 => world.switch(1).unwrap(),
            1 => older = files(&world.disk),
            _ => {}
        }
        if round == 1 {
            world.switch(2).unwrap();
            world.stop().unwrap();
            world.reopen(Crash::Kill);
            (0..TABLES).for_each(|table| world.unlock(table).unwrap());
        }
    }
    Scene {
        world,
        files: Files::new(),
        older,
        expected,
        was_stopped: false,
    }
}

/// What was done to the folder.
#[derive(Debug)]
enum Mutation {
    Flip { path: String, byte: usize, bit: u8 },
    Cut { path: String, bytes: usize },
    Swap { first: String, second: String },
    Remove { path: String },
    PutBack { path: String },
}

impl Scene {
    /// The server is gone; this is what it left.
    fn end(&mut self) {
        self.world.env.drop_tasks();
        self.world.disk.crash(Crash::Kill);
        self.files = files(&self.world.disk);
    }

    /// Files that hold anything.
    fn paths(&self) -> Vec<&String> {
        let with_bytes = self.files.iter().filter(|(_, bytes)| !bytes.is_empty());
        with_bytes.map(|(path, _)| path).collect()
    }

    /// The folder with a mutation in it; None if the mutation changes nothing.
    fn mutated(&self, mutation: &Mutation) -> Option<Files> {
        let mut files = self.files.clone();
        match mutation {
            Mutation::Flip { path, byte, bit } => files.get_mut(path)?[*byte] ^= 1 << bit,
            Mutation::Cut { path, bytes } => files.get_mut(path)?.truncate(*bytes),
            Mutation::Swap { first, second } => {
                files.insert(first.clone(), self.files[second].clone());
                files.insert(second.clone(), self.files[first].clone());
            }
            Mutation::Remove { path } => drop(files.remove(path)),
            Mutation::PutBack { path } => {
                files.insert(path.clone(), self.older.get(path)?.clone());
            }
        }
        (files != self.files).then_some(files)
    }

    /// Where FORMAT.md does not look: zeros behind the end of a segment that is not the newest, and a segment prepared and not begun.
    fn is_unchecked(&self, mutation: &Mutation) -> bool {
        let is_zero = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
        let segments = self
            .files
            .iter()
            .filter(|(path, _)| path.contains("segment"));
        let newest = segments
            .rev()
            .find(|(_, bytes)| !is_zero(bytes))
            .map(|(path, _)| path);
        match mutation {
            Mutation::Flip { path, byte, .. } => {
                let page = byte - byte % 4096;
                path.contains("segment")
                    && (newest != Some(path) || !self.was_stopped)
                    && is_zero(&self.files[path][page..page + 4096])
            }
            // What a root's file does not have is zero.
            Mutation::Cut { path, bytes } if path.starts_with("roots/") => {
                is_zero(&self.files[path][*bytes..])
            }
            Mutation::Cut { path, .. } | Mutation::Remove { path } => is_zero(&self.files[path]),
            Mutation::Swap { .. } | Mutation::PutBack { .. } => false,
        }
    }

    /// An engine on these files answers rightly or not at all. Says how many tables answered.
    fn answers(&mut self, files: &Files, mutation: &Mutation) -> usize {
        if self.world.move_to(disk_of(files)).is_err() {
            return 0;
        }
        let mut answered = 0;
        for table in 0..TABLES {
            let expected = &self.expected[usize::from(table)];
            if self.world.engine.root(id(table)).is_none() || self.world.unlock(table).is_err() {
                continue;
            }
            if let Ok(found) = self.world.rows(table) {
                assert!(
                    found == *expected,
                    "seed {}: {mutation:?} gave table {table} other rows",
                    self.world.seed
                );
                answered += 1;
            }
        }
        answered
    }

    /// Whether nothing differs but what stands in the watermark: the last that a stop writes.
    fn is_of_the_watermark(&self, files: &Files) -> bool {
        let is_as_it_was = |path: &String, bytes: &Vec<u8>| match files.get(path) {
            Some(found) if path == "log/watermark" => found.len() == bytes.len(),
            found => found == Some(bytes),
        };
        self.files
            .iter()
            .all(|(path, bytes)| is_as_it_was(path, bytes))
    }

    fn is_named(&self, files: &Files) -> bool {
        match inspect(&disk_of(files), &self.world.env) {
            // After a crash some damage looks like a write cut short, and is said to. So does damage of a stop's last word.
            Ok(report) if !self.was_stopped || self.is_of_the_watermark(files) => {
                !report.damage.is_empty() || !report.warnings.is_empty()
            }
            // A clean stop ends with a watermark. Where that one is damaged, it may have been cut short itself.
            Ok(report) => {
                let is_watermark = |line: &String| line.starts_with("log watermark: ");
                !report.damage.is_empty() || report.warnings.iter().any(is_watermark)
            }
            Err(_) => true,
        }
    }
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

fn draw(random: &SeededEntropy, below: usize) -> usize {
    let mut bytes = [0; 8];
    random.fill(&mut bytes);
    (u64::from_le_bytes(bytes) % below.max(1) as u64) as usize
}

fn drawn(scene: &Scene, random: &SeededEntropy) -> Mutation {
    let paths = scene.paths();
    let path = paths[draw(random, paths.len())].clone();
    let length = scene.files[&path].len();
    match draw(random, 10) {
        0..7 => Mutation::Flip {
            byte: draw(random, length),
            bit: draw(random, 8) as u8,
            path,
        },
        7 => Mutation::Cut {
            bytes: draw(random, length),
            path,
        },
        8 => {
            let folder = path.split('/').next().expect("a path has a first part");
            let siblings: Vec<_> = paths
                .iter()
                .filter(|other| other.starts_with(folder))
                .collect();
            Mutation::Swap {
                second: siblings[draw(random, siblings.len())].to_string(),
                first: path,
            }
        }
        _ => Mutation::Remove { path },
    }
}

#[test]
fn an_untouched_folder_is_whole_and_answers() {
    for mut scene in [scene(1), killed(1)] {
        let report = inspect(&scene.world.disk, &scene.world.env).unwrap();
        assert_eq!(report.damage, Vec::<String>::new());
        assert_eq!(report.warnings, Vec::<String>::new());
        assert!(report.structures > 20);
        let files = scene.files.clone();
        let untouched = Mutation::Remove {
            path: "nothing".into(),
        };
        assert_eq!(scene.answers(&files, &untouched), usize::from(TABLES));
    }
}

#[test]
fn whatever_is_changed_is_named_and_answers_nothing_wrong() {
    mutate(number("PALLADIUM_MUTATIONS", 300), scene);
}

#[test]
fn whatever_is_changed_after_a_kill_is_named_and_answers_nothing_wrong() {
    mutate(number("PALLADIUM_MUTATIONS", 300), killed);
}

fn mutate(mut left: u64, scene: fn(u64) -> Scene) {
    let mut answered = 0;
    for seed in number("PALLADIUM_SEED", 1).. {
        let mut scene = scene(seed);
        let random = SeededEntropy::new(seed);
        for _ in 0..left.min(500) {
            left -= 1;
            let mutation = drawn(&scene, &random);
            let Some(files) = scene.mutated(&mutation) else {
                continue;
            };
            assert!(
                scene.is_named(&files) || scene.is_unchecked(&mutation),
                "seed {seed}: {mutation:?} is not named"
            );
            answered += scene.answers(&files, &mutation);
        }
        if left == 0 {
            break;
        }
    }
    assert!(answered > 0, "one table's damage is not everybody's");
}

#[test]
fn every_file_that_is_removed_is_named() {
    let mut scene = scene(2);
    let paths: Vec<String> = scene.paths().into_iter().cloned().collect();
    for path in paths {
        let mutation = Mutation::Remove { path };
        let files = scene.mutated(&mutation).unwrap();
        let is_named = scene.is_named(&files) || scene.is_unchecked(&mutation);
        assert!(is_named, "{mutation:?}");
        scene.answers(&files, &mutation);
    }
}

#[test]
fn an_older_copy_put_back_is_named_or_does_no_harm() {
    let mut scene = scene(3);
    let paths: Vec<String> = scene.older.keys().cloned().collect();
    let mut named = 0;
    for path in paths {
        let mutation = Mutation::PutBack { path };
        let Some(files) = scene.mutated(&mutation) else {
            continue;
        };
        named += usize::from(scene.is_named(&files));
        scene.answers(&files, &mutation);
    }
    assert!(named >= 2, "{named}");
}

#[test]
fn an_older_manifest_or_log_as_a_whole_is_named() {
    let mut scene = scene(4);
    for folder in ["manifest/", "log/", "roots/"] {
        let mut files = scene.files.clone();
        files.retain(|path, _| !path.starts_with(folder));
        let old = scene
            .older
            .iter()
            .filter(|(path, _)| path.starts_with(folder));
        files.extend(old.map(|(path, bytes)| (path.clone(), bytes.clone())));
        assert!(scene.is_named(&files), "an older {folder}");
        let mutation = Mutation::PutBack {
            path: folder.into(),
        };
        scene.answers(&files, &mutation);
    }
}

#[test]
fn a_watermark_cut_to_its_first_slot_is_named() {
    let mut scene = scene(5);
    for bytes in [4096, 3000, 300] {
        let path = "log/watermark".into();
        let mutation = Mutation::Cut { path, bytes };
        let files = scene.mutated(&mutation).unwrap();
        assert!(scene.is_named(&files), "{mutation:?}");
        scene.answers(&files, &mutation);
    }
}

/// The paths of both copies of the manifest.
fn manifest_copies(files: &Files) -> [String; 2] {
    let copy = |end: &str| {
        let mut paths = files.keys();
        paths.rfind(|path| path.starts_with("manifest/") && path.ends_with(end))
    };
    ["-0", "-1"].map(|end| copy(end).expect("both copies are there").clone())
}

#[test]
fn bytes_behind_a_copy_of_the_manifest_are_named_and_the_next_start_mends_them() {
    for was_stopped in [true, false] {
        for copy in 0..2 {
            let scene = if was_stopped { scene(5) } else { killed(5) };
            let path = &manifest_copies(&scene.files)[copy];
            let mut world = scene.world;
            let mut bytes = scene.files[path].clone();
            bytes.push(7);
            let disk = disk_of(&scene.files);
            disk.replace(path, Some(bytes));
            let report = inspect(&disk, &world.env).unwrap();
            // Copy 0 may have it from a commit that was cut short, be it the first one of a start behind a clean stop.
            let said = &[report.warnings, report.damage][copy];
            assert_eq!(said.len(), 1, "{said:?}");
            assert!(said[0].contains(&format!("copy {copy} at")), "{said:?}");
            world.move_to(disk).unwrap();
            for (table, expected) in (0..TABLES).zip(&scene.expected) {
                world.unlock(table).unwrap();
                assert_eq!(&world.rows(table).unwrap(), expected);
            }
            world.stop().unwrap();
            world.env.drop_tasks();
            world.disk.crash(Crash::Kill);
            let report = world.inspect().unwrap();
            assert_eq!((report.damage, report.warnings), (vec![], vec![]));
        }
    }
}

#[test]
fn a_stop_whose_commit_of_the_manifest_fails_half_way_looks_like_a_crash() {
    let mut world = World::with_tables(6, small(), 1);
    let expected = world.fill(0, 3, 3);
    world.disk.fail_writes_after(0, 1);
    world.stop().unwrap_err();
    world.env.drop_tasks();
    world.disk.crash(Crash::Kill);
    let report = world.inspect().unwrap();
    assert_eq!(report.damage, [""; 0]);
    assert!(
        report.warnings[0].contains("copy 0"),
        "{:?}",
        report.warnings
    );
    world.reopen(Crash::Kill);
    world.unlock(0).unwrap();
    assert_eq!(world.rows(0).unwrap(), expected);
}

/// A crash explains what is not written to its end, and no few bytes of a root that was.
#[test]
fn a_flipped_copy_of_a_root_is_damage_also_after_a_kill() {
    for at in [3, 60, 32768 + 12, 32768 + 100] {
        let mut world = World::with_tables(46, small(), 1);
        world.fill(0, 2, 2);
        world.env.drop_tasks();
        world.disk.crash(Crash::Kill);
        assert_eq!(world.inspect().unwrap().damage, [""; 0]);
        let path = world.paths("roots/").remove(0);
        world.disk.flip(&path, at, 2);
        let damage = world.inspect().unwrap().damage;
        assert_eq!(damage.len(), 1, "{at}: {damage:?}");
        assert!(damage[0].contains("root of table"), "{damage:?}");
        // The start mends it.
        world.try_reopen_as_it_is().unwrap();
        world.env.drop_tasks();
        world.disk.crash(Crash::Kill);
        assert_eq!(world.inspect().unwrap().damage, [""; 0]);
    }
}
