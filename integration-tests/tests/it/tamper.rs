//! Flip, cut, swap, remove, put back: whoever changes a folder is found out. `palladium verify` names the structure, or the server answers with an error;
//! no query ever returns a wrong row, or leaves one out.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use palladium_integration_tests::chance::{Chance, long};
use palladium_integration_tests::node::{Node, Settings, copy_folder};
use palladium_integration_tests::raw::{Answer, Connection};

use crate::rows::{Place, bind, grid, make_keyspace, make_table, versions, write_all};
use crate::runtimes::one_thread;

const TABLES: [&str; 2] = ["ks.one", "ks.two"];
const PARTITIONS: i32 = 60;
const CLUSTERINGS: i32 = 30;

/// A stopped node, its folder as it was left, and an older copy of the same folder.
struct Scene {
    node: Node,
    whole: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
}

impl Scene {
    /// Two tables, each with structures on disk, and rows that are in the log alone.
    fn new() -> Scene {
        // Small segments: the folder is copied for every case.
        let settings = Settings {
            config: "log_segment_bytes = 1048576\n".into(),
            ..Settings::default()
        };
        let mut node = Node::start_with(settings);
        let runtime = one_thread();
        let whole = tempfile::tempdir().expect("a temporary folder can be made");
        runtime.block_on(async {
            let mut connection = node.connect().await;
            make_keyspace(&mut connection, "ks").await;
            for table in TABLES {
                make_table(&mut connection, table, "").await;
                write_all(&mut connection, table, grid(PARTITIONS, CLUSTERINGS), 1).await;
            }
        });
        node.flush();
        node.stop();
        keep(&node, &whole.path().join("older"));
        node.restart();
        runtime.block_on(async {
            let mut connection = node.connect().await;
            write_all(
                &mut connection,
                TABLES[0],
                grid(PARTITIONS / 2, CLUSTERINGS),
                2,
            )
            .await;
            write_all(
                &mut connection,
                TABLES[1],
                grid(PARTITIONS / 2, CLUSTERINGS),
                2,
            )
            .await;
            node.flush();
            write_all(
                &mut connection,
                TABLES[0],
                grid(PARTITIONS / 4, CLUSTERINGS),
                3,
            )
            .await;
            write_all(
                &mut connection,
                TABLES[1],
                grid(PARTITIONS / 4, CLUSTERINGS),
                3,
            )
            .await;
        });
        // A kill, so that the newest rows are in the log and not in a structure; then a short run whose clean stop seals the log's end.
        node.kill();
        node.restart();
        node.stop();
        keep(&node, &whole.path().join("newest"));
        Scene {
            node,
            whole,
            runtime,
        }
    }

    fn wanted() -> BTreeMap<Place, u64> {
        let version = |partition| {
            if partition < PARTITIONS / 4 {
                3
            } else {
                u64::from(partition < PARTITIONS / 2) + 1
            }
        };
        grid(PARTITIONS, CLUSTERINGS)
            .map(|place| (place, version(place.0)))
            .collect()
    }

    /// Puts the folder back as it was, keyring and anchor too.
    fn reset(&self) {
        put_back(&self.node, &self.whole.path().join("newest"));
    }

    fn older(&self) -> PathBuf {
        self.whole.path().join("older")
    }

    /// Every file of the data folder that has bytes, by its path inside it.
    fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        list(&self.node.data(), &self.node.data(), &mut files);
        files.retain(|file| {
            fs::metadata(self.node.data().join(file)).is_ok_and(|metadata| metadata.len() > 0)
        });
        files.sort();
        files
    }

    /// What every file of the data folder holds.
    fn contents(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let read = |file: PathBuf| {
            let bytes = fs::read(self.node.data().join(&file)).expect("the file can be read");
            (file, bytes)
        };
        self.files().into_iter().map(read).collect()
    }

    /// What verify says of the folder, and that it left it as it was; then starts a server on it and asks for every row.
    fn judge(&mut self) -> Judgement {
        let before = self.contents();
        let outcome = self.node.verify();
        assert!(before == self.contents(), "verify has written");
        let (refused, wrong) = match self.node.try_restart() {
            Err(_) => (true, None),
            Ok(()) => {
                let answers = self.runtime.block_on(ask_for_everything(&self.node));
                self.node.kill();
                match answers {
                    Ok(refused) => (refused, None),
                    Err(wrong) => (true, Some(wrong)),
                }
            }
        };
        Judgement {
            code: outcome.code().unwrap_or(-1),
            text: outcome.text,
            refused,
            wrong,
        }
    }
}

struct Judgement {
    /// Of verify, and what it printed.
    code: i32,
    text: String,
    /// The server did not start, or refused at least one query.
    refused: bool,
    /// A row that was wrong or missing.
    wrong: Option<String>,
}

/// What went wrong in many cases; all of them are told at the end.
#[derive(Default)]
struct Complaints(Vec<String>);

impl Complaints {
    /// The change must have been found by verify, which names the file or the structure in it, and no answer may have been wrong.
    fn expect_named(&mut self, case: &str, files: &[&Path], judgement: &Judgement) {
        if let Some(wrong) = &judgement.wrong {
            self.0.push(format!("{case}: WRONG ANSWER: {wrong}"));
        }
        // What a crash could have left as well is a warning: the newest frame of a second copy, one of two slots.
        let lines = judgement
            .text
            .lines()
            .filter(|line| line.starts_with("damage: ") || line.starts_with("warning: "));
        let lines = lines.collect::<Vec<_>>().join("\n").replace('-', "");
        let named = files
            .iter()
            .flat_map(|file| names(file))
            .any(|name| lines.contains(&name.replace('-', "")));
        if ![0, 1, 3].contains(&judgement.code) || !named {
            self.0.push(format!(
                "{case}: verify ended with {}: {}",
                judgement.code,
                judgement.text.trim()
            ));
        }
    }

    fn expect_right(&mut self, case: &str, judgement: &Judgement) {
        if let Some(wrong) = &judgement.wrong {
            self.0.push(format!("{case}: WRONG ANSWER: {wrong}"));
        }
    }
}

impl Drop for Complaints {
    fn drop(&mut self) {
        assert!(
            self.0.is_empty() || std::thread::panicking(),
            "{} cases:\n{}",
            self.0.len(),
            self.0.join("\n")
        );
    }
}

/// By which words a file may be named: its own name, or the structure's.
fn names(file: &Path) -> Vec<String> {
    let name = file.file_name().expect("a file has a name");
    let name = name.to_string_lossy().into_owned();
    let mut names = vec![name.clone()];
    if let Some(number) = name.strip_prefix("segment-") {
        names.push(format!("segment {}", number.trim_start_matches('0')));
    }
    if let Some((generation, copy)) = name
        .split_once('-')
        .filter(|_| file.starts_with("manifest"))
    {
        let generation = generation.trim_start_matches('0');
        names.push(format!("manifest generation {generation}, copy {copy}"));
    }
    // The root whose table id is all zero.
    if file.starts_with("roots") && name.bytes().all(|byte| byte == b'0') {
        names.push("root of the service's own key".to_owned());
    }
    // Two slots with nothing but numbers; where one is meant, `slot` says so.
    if name == "watermark" {
        names.push("slot ".to_owned());
    }
    names
}

/// Asks for each row by key and for all by a scan. A refusal is an answer; a row that is wrong, old or missing is not. True if anything was refused.
async fn ask_for_everything(node: &Node) -> Result<bool, String> {
    let wanted = Scene::wanted();
    let mut refused = false;
    let mut connection = Connection::open(node.address())
        .await
        .map_err(|error| error.to_string())?;
    for table in TABLES {
        match connection
            .query_all(&format!("SELECT p, c, v FROM {table}"), 500)
            .await
            .map_err(|error| error.to_string())?
        {
            Answer::Refused { .. } => refused = true,
            answer => {
                let found: BTreeMap<Place, u64> = versions(&answer.rows()).into_iter().collect();
                if found != wanted {
                    return Err(format!(
                        "a scan of {table} gave other rows than were written ({} of {})",
                        found.len(),
                        wanted.len()
                    ));
                }
            }
        }
        let Ok(select) = connection
            .prepare(&format!(
                "SELECT p, c, v FROM {table} WHERE p = ? AND c = ?"
            ))
            .await
        else {
            refused = true;
            continue;
        };
        let places: Vec<Place> = grid(PARTITIONS, CLUSTERINGS).collect();
        let sets: Vec<_> = places
            .iter()
            .map(|&place| bind(place, 0)[..2].to_vec())
            .collect();
        let answers = connection
            .execute_all(&select, &sets, 128)
            .await
            .map_err(|error| error.to_string())?;
        for (place, answer) in places.into_iter().zip(answers) {
            match answer {
                Answer::Refused { .. } => refused = true,
                answer => {
                    let found = versions(&answer.rows());
                    if found != [(place, wanted[&place])] {
                        return Err(format!(
                            "a read of {place:?} in {table} gave {found:?}, not version {}",
                            wanted[&place]
                        ));
                    }
                }
            }
        }
    }
    Ok(refused)
}

#[test]
fn an_untouched_folder_is_whole() {
    let mut scene = Scene::new();
    let judgement = scene.judge();
    assert_eq!(judgement.code, 0, "{}", judgement.text);
    assert!(
        !judgement.refused,
        "a whole folder was refused: {:?}",
        judgement.wrong
    );
    assert_eq!(
        scene.node.tool(&["verify", "/nowhere/at/all"]).code(),
        Some(2),
        "a folder that is not there cannot be checked"
    );
}

#[test]
fn a_flipped_bit_is_named_wherever_it_is() {
    let mut chance = Chance::for_test("a_flipped_bit_is_named_wherever_it_is");
    let (mut scene, mut complaints) = (Scene::new(), Complaints::default());
    for file in scene.files() {
        let path = scene.node.data().join(&file);
        let (length, used) = (
            fs::metadata(&path).expect("the file is there").len() as usize,
            used_length(&path),
        );
        // The first byte, the last that is used, the last of all, and some between.
        let mut offsets = vec![0, used - 1, length - 1];
        offsets.extend((0..40).map(|_| chance.below(used)));
        if !long() {
            offsets = vec![offsets[chance.below(3)], offsets[3]];
        }
        for offset in offsets {
            let bit = 1 << chance.below(8);
            let mut bytes = fs::read(&path).expect("the file can be read");
            let padding = is_padding(&bytes, offset);
            bytes[offset] ^= bit;
            fs::write(&path, bytes).expect("the file can be written");
            let case = format!(
                "{}: byte {offset} of {length} xor {bit:#04x}",
                file.display()
            );
            let judgement = scene.judge();
            if padding {
                complaints.expect_right(&case, &judgement);
            } else {
                complaints.expect_named(&case, &[&file], &judgement);
            }
            scene.reset();
        }
    }
}

#[test]
fn a_cut_or_missing_file_is_named() {
    let mut chance = Chance::for_test("a_cut_or_missing_file_is_named");
    let (mut scene, mut complaints) = (Scene::new(), Complaints::default());
    for file in scene.files() {
        let path = scene.node.data().join(&file);
        let (length, used) = (
            fs::metadata(&path).expect("the file is there").len(),
            used_length(&path) as u64,
        );
        let mut cuts = vec![length - 1, used - 1, used / 2, 0];
        if !long() {
            cuts = vec![cuts[chance.below(4)]];
        }
        for keep in cuts {
            fs::OpenOptions::new()
                .write(true)
                .open(&path)
                .and_then(|file| file.set_len(keep))
                .expect("the file can be cut");
            let case = format!("{}: cut to {keep} of {length} bytes", file.display());
            complaints.expect_named(&case, &[&file], &scene.judge());
            scene.reset();
        }
        fs::remove_file(&path).expect("the file can be removed");
        complaints.expect_named(
            &format!("{}: removed", file.display()),
            &[&file],
            &scene.judge(),
        );
        scene.reset();
    }
}

#[test]
fn swapped_files_are_named() {
    let (mut scene, mut complaints) = (Scene::new(), Complaints::default());
    let files = scene.files();
    for (index, one) in files.iter().enumerate() {
        for other in &files[index + 1..] {
            // Only files of one folder could be taken for each other, and the two copies of a manifest are the same bytes by design.
            let (one_path, other_path) =
                (scene.node.data().join(one), scene.node.data().join(other));
            if one.parent() != other.parent()
                || one.parent() == Some(Path::new(""))
                || fs::read(&one_path).ok() == fs::read(&other_path).ok()
            {
                continue;
            }
            let spare = scene.node.data().join("spare");
            let swap =
                fs::rename(&one_path, &spare).and_then(|()| fs::rename(&other_path, &one_path));
            swap.and_then(|()| fs::rename(&spare, &other_path))
                .expect("files can be renamed");
            complaints.expect_named(
                &format!("{} and {} swapped", one.display(), other.display()),
                &[one, other],
                &scene.judge(),
            );
            scene.reset();
            if !long() {
                break;
            }
        }
    }
}

#[test]
fn an_older_copy_put_back_is_noticed() {
    let (mut scene, mut complaints) = (Scene::new(), Complaints::default());
    // One file at a time: an older root, an older manifest, an older segment.
    for file in scene.files() {
        let (path, older) = (
            scene.node.data().join(&file),
            scene.older().join("data").join(&file),
        );
        let Ok(old) = fs::read(older) else { continue };
        if old == fs::read(&path).expect("the file can be read") {
            continue;
        }
        fs::write(&path, old).expect("the file can be written");
        let (case, judgement) = (format!("{}: an older copy", file.display()), scene.judge());
        if file.ends_with("watermark") {
            // An older watermark says less and nothing false: the log's own end stands in the log.
            complaints.expect_right(&case, &judgement);
        } else {
            complaints.expect_named(&case, &[&file], &judgement);
        }
        scene.reset();
    }
    // The whole folder, beside the anchor that knows better.
    fs::remove_dir_all(scene.node.data())
        .and_then(|()| copy_folder(&scene.older().join("data"), &scene.node.data()))
        .expect("the older folder can be put back");
    let judgement = scene.judge();
    assert_eq!(
        judgement.code, 3,
        "the whole folder, older: {}",
        judgement.text
    );
    assert!(
        judgement.refused && judgement.wrong.is_none(),
        "an older folder was served: {:?}",
        judgement.wrong
    );
}

#[test]
fn without_its_keyring_a_folder_opens_nothing() {
    let mut scene = Scene::new();
    fs::remove_file(scene.node.keyring()).expect("the keyring can be removed");
    assert_eq!(scene.node.verify().code(), Some(2));
    assert!(
        scene.node.try_restart().is_err(),
        "data without its keyring was served"
    );
    scene.reset();
    let judgement = scene.judge();
    assert_eq!(judgement.code, 0, "the keyring is back: {}", judgement.text);
    assert!(!judgement.refused);
}

/// Whether a byte stands in a long run of zeros: padding need not be vouched for, but may not mislead either.
fn is_padding(bytes: &[u8], offset: usize) -> bool {
    const RUN_BYTES_MIN: usize = 64;
    let zeros = |bytes: &mut dyn Iterator<Item = &u8>| bytes.take_while(|&&byte| byte == 0).count();
    bytes[offset] == 0
        && zeros(&mut bytes[..offset].iter().rev()) + zeros(&mut bytes[offset..].iter())
            >= RUN_BYTES_MIN
}

/// How many bytes there are up to the last that is not zero: what follows is padding of a prepared file.
fn used_length(path: &Path) -> usize {
    let bytes = fs::read(path).expect("the file can be read");
    bytes
        .iter()
        .rposition(|&byte| byte != 0)
        .map_or(bytes.len(), |last| last + 1)
}

fn list(root: &Path, folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder can be listed") {
        let path = entry.expect("a folder can be listed").path();
        if path.is_dir() {
            list(root, &path, files);
        } else {
            files.push(
                path.strip_prefix(root)
                    .expect("a path below its root")
                    .to_owned(),
            );
        }
    }
}

/// Keeps data, keyring and anchor.
fn keep(node: &Node, target: &Path) {
    copy_folder(&node.data(), &target.join("data")).expect("a folder can be copied");
    for file in beside(node) {
        fs::copy(
            &file,
            target.join(file.file_name().expect("a file has a name")),
        )
        .expect("a file can be copied");
    }
}

fn put_back(node: &Node, source: &Path) {
    fs::remove_dir_all(node.data()).expect("the data folder can be removed");
    for file in beside(node) {
        fs::remove_file(file).expect("a file can be removed");
    }
    copy_folder(&source.join("data"), &node.data()).expect("a folder can be copied");
    let folder = node
        .keyring()
        .parent()
        .expect("the keyring lies in a folder")
        .to_owned();
    for entry in fs::read_dir(source).expect("a folder can be listed") {
        let path = entry.expect("a folder can be listed").path();
        if path.is_file() {
            fs::copy(
                &path,
                folder.join(path.file_name().expect("a file has a name")),
            )
            .expect("a file can be copied");
        }
    }
}

/// The keyring, its anchor and whatever else stands beside it under its name.
fn beside(node: &Node) -> Vec<PathBuf> {
    let folder = node
        .keyring()
        .parent()
        .expect("the keyring lies in a folder")
        .to_owned();
    let entries = fs::read_dir(folder).expect("a folder can be listed");
    entries
        .map(|entry| entry.expect("a folder can be listed").path())
        .filter(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("keyring"))
        })
        .collect()
}
