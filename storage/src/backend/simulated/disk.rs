//! A disk in memory that forgets what was not synced.
//!
//! ```text
//! file    current bytes | durable bytes | dirty sectors           write touches the first, sync copies to the second
//! names   current       | durable                                 create and remove touch the first, sync_folder copies
//! ```
//!
//! A loss of power keeps what is durable and, by the seed, any subset of dirty sectors, any part of a grown length and any subset of
//! unsynced names: what real disks are allowed to do. Handles opened before a crash do nothing any more.
//!
//! A sync that fails takes the dirty mark off what it did not write, as kernels do: it is read as before, the next sync succeeds, and only the loss of power
//! shows that it never was on the disk. A write that fails has written half.

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use std::time::Duration;

use palladium_crypto::{Entropy, SeededEntropy};

use crate::backend::folder::{Disk, DiskFile};
use crate::env::{Env, yield_now};

/// The unit that a power loss tears: a sector is old or new, never half.
const SECTOR: usize = 512;

/// How a world ends.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum Crash {
    /// The process dies. The kernel keeps what was written, synced or not.
    Kill,
    /// The machine dies. Of what was not synced a subset drawn from the seed survives.
    PowerLoss { seed: u64 },
}

/// Calls that can be made to wait.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Debug)]
pub enum HeldCalls {
    /// The sync behind an append to the log; what is appended is written.
    LogSyncs,
    /// Removals of segments.
    LogRemovals,
    /// Commits of the manifest, before anything of them is written.
    ManifestCommits,
    /// Removals of blobs.
    BlobRemovals,
}

/// Files in memory, shared by the backends that come and go with each crash.
pub struct SimulatedDisk {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    files: BTreeMap<u64, Content>,
    next_file: u64,
    /// Handles remember the life they were opened in.
    life: u64,
    is_owned: bool,
    is_down: bool,
    syncs: u64,
    down_at_sync: Option<u64>,
    failing_syncs: Failing,
    failing_writes: Failing,
    /// Of any file.
    failing_reads: Failing,
    /// Of blobs, where somebody waits for them.
    failing_waits: u32,
    slowness: Option<Slowness>,
    room_bytes: Option<u64>,
    holds: BTreeSet<HeldCalls>,
    held: Vec<Waker>,
}

/// Some calls succeed, then some fail.
#[derive(Clone, Copy, Default)]
struct Failing {
    passing: u64,
    failing: u32,
}

impl Failing {
    fn next_fails(&mut self) -> bool {
        match self {
            Failing { failing: 0, .. } => false,
            Failing {
                passing: 0,
                failing,
            } => {
                *failing -= 1;
                true
            }
            Failing { passing, .. } => {
                *passing -= 1;
                false
            }
        }
    }
}

/// How long calls take.
struct Slowness {
    env: Arc<dyn Env>,
    chance: SeededEntropy,
    longest: Duration,
}

#[derive(Clone, Default)]
struct Content {
    current: Vec<u8>,
    durable: Vec<u8>,
    dirty: BTreeSet<usize>,
}

impl SimulatedDisk {
    /// An empty disk.
    pub fn new() -> Arc<SimulatedDisk> {
        Arc::new(SimulatedDisk {
            state: Mutex::default(),
        })
    }

    /// Ends the present life: all handles go dead, nobody owns the folder, and of unsynced work there is left what `crash` leaves.
    pub fn crash(&self, crash: Crash) {
        let mut state = self.state();
        state.life += 1;
        state.is_owned = false;
        state.is_down = false;
        state.down_at_sync = None;
        state.failing_syncs = Failing::default();
        state.failing_writes = Failing::default();
        state.failing_reads = Failing::default();
        state.holds.clear();
        state.failing_waits = 0;
        if let Crash::PowerLoss { seed } = crash {
            lose_power(&mut state, &SeededEntropy::new(seed));
        }
    }

    /// Every call fails from the `count`th sync from now on, that one included and not done.
    pub fn go_down_at_sync(&self, count: u64) {
        let mut state = self.state();
        state.down_at_sync = Some(state.syncs + count);
    }

    /// Has it gone down as asked?
    pub fn is_down(&self) -> bool {
        self.state().is_down
    }

    /// Syncs so far, of files and of folders.
    pub fn syncs(&self) -> u64 {
        self.state().syncs
    }

    /// The next `count` syncs fail, and only those.
    pub fn fail_syncs(&self, count: u32) {
        self.fail_syncs_after(0, count);
    }

    /// So many syncs succeed, then `count` fail, and only those.
    pub fn fail_syncs_after(&self, passing: u64, count: u32) {
        self.state().failing_syncs = Failing {
            passing,
            failing: count,
        };
    }

    /// So many writes succeed, then `count` fail with EIO half way, and only those.
    pub fn fail_writes_after(&self, passing: u64, count: u32) {
        self.state().failing_writes = Failing {
            passing,
            failing: count,
        };
    }

    /// So many reads of any file succeed, then `count` fail with EIO, and only those.
    pub fn fail_reads_after(&self, passing: u64, count: u32) {
        self.state().failing_reads = Failing {
            passing,
            failing: count,
        };
    }

    /// From now on every call takes its time, up to `longest`, before and after it does something, and others run meanwhile. Crashes do not end it.
    pub fn slow_down(&self, env: Arc<dyn Env>, seed: u64, longest: Duration) {
        self.state().slowness = Some(Slowness {
            env,
            chance: SeededEntropy::new(seed),
            longest,
        });
    }

    /// Calls that wait for nobody are done at once again.
    pub fn speed_up(&self) {
        self.state().slowness = None;
    }

    /// What a call waits before it acts, and before its caller hears of it.
    pub(super) async fn take_time(&self) {
        let time = self.state().slowness.as_ref().map(|slowness| {
            let longest = slowness.longest.as_micros() as usize;
            let is_short = draw(&slowness.chance, 2) == 0;
            let micros = if is_short {
                0
            } else {
                draw(&slowness.chance, longest + 1)
            };
            (slowness.env.clone(), Duration::from_micros(micros as u64))
        });
        match time {
            None => {}
            Some((_, Duration::ZERO)) => yield_now().await,
            Some((env, time)) => env.sleep(time).await,
        }
    }

    /// As long as it is so, what is appended to the log is written and not durable: whoever appends waits. A crash ends it.
    pub fn hold_log_syncs(&self, is_held: bool) {
        self.hold(HeldCalls::LogSyncs, is_held);
    }

    /// As long as it is so, calls of this kind wait. A crash ends it.
    pub fn hold(&self, calls: HeldCalls, is_held: bool) {
        let mut state = self.state();
        match is_held {
            true => state.holds.insert(calls),
            false => state.holds.remove(&calls),
        };
        let held = std::mem::take(&mut state.held);
        drop(state);
        held.into_iter().for_each(Waker::wake);
    }

    /// Ready when calls of this kind do not wait.
    pub(super) async fn goes_on(&self, calls: HeldCalls) {
        poll_fn(|context| {
            let mut state = self.state();
            if !state.holds.contains(&calls) {
                return Poll::Ready(());
            }
            state.held.push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// The next `count` reads of a blob that wait for the disk fail with EIO, and only those.
    pub fn fail_reads(&self, count: u32) {
        self.state().failing_waits = count;
    }

    pub(super) fn reads_fail(&self) -> bool {
        self.state().failing_waits > 0
    }

    pub(super) fn take_failing_read(&self) -> bool {
        let mut state = self.state();
        let fails = state.failing_waits > 0;
        state.failing_waits = state.failing_waits.saturating_sub(1);
        fails
    }

    /// No more than so many further bytes fit; `None`: no limit.
    pub fn set_room(&self, bytes: Option<u64>) {
        self.state().room_bytes = bytes;
    }

    /// All files, by path.
    pub fn paths(&self) -> Vec<String> {
        self.state().names.keys().cloned().collect()
    }

    /// A file's bytes, or none.
    pub fn contents(&self, path: &str) -> Option<Vec<u8>> {
        let state = self.state();
        let file = state.names.get(path)?;
        Some(state.files[file].current.clone())
    }

    /// Puts these bytes where the file is or was, durably: what an attacker with the disk in hand can do. `None` takes it away.
    pub fn replace(&self, path: &str, bytes: Option<Vec<u8>>) {
        let mut state = self.state();
        state.names.remove(path);
        state.durable_names.remove(path);
        let Some(bytes) = bytes else {
            return;
        };
        let file = state.new_file();
        let content = Content {
            current: bytes.clone(),
            durable: bytes,
            dirty: BTreeSet::new(),
        };
        state.files.insert(file, content);
        state.names.insert(path.to_owned(), file);
        state.durable_names.insert(path.to_owned(), file);
    }

    /// Flips one bit of a file, durably.
    ///
    /// # Panics
    /// If the file or the byte does not exist.
    pub fn flip(&self, path: &str, byte: usize, bit: u8) {
        let mut bytes = self.contents(path).expect("the file to damage exists");
        bytes[byte] ^= 1 << bit;
        self.replace(path, Some(bytes));
    }

    /// Takes the folder, if nobody has it; gives the life it was taken in.
    pub(super) fn own(&self) -> Option<u64> {
        let mut state = self.state();
        if state.is_owned {
            return None;
        }
        state.is_owned = true;
        Some(state.life)
    }

    pub(super) fn disown(&self, life: u64) {
        let mut state = self.state();
        if state.life == life {
            state.is_owned = false;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn new_file(&mut self) -> u64 {
        self.next_file += 1;
        self.next_file
    }

    /// Refuses calls of an earlier life, and all calls once down.
    fn alive(&mut self, life: u64) -> io::Result<&mut Self> {
        if self.life != life || self.is_down {
            return Err(io::Error::other("the simulated machine is down"));
        }
        Ok(self)
    }

    fn count_sync(&mut self) -> io::Result<()> {
        self.syncs += 1;
        if self.down_at_sync.is_some_and(|at| self.syncs >= at) {
            self.is_down = true;
            return Err(io::Error::other("the simulated machine went down"));
        }
        match self.failing_syncs.next_fails() {
            true => Err(io::Error::other("a simulated sync failed")),
            false => Ok(()),
        }
    }

    fn take_room(&mut self, bytes: u64) -> io::Result<()> {
        match &mut self.room_bytes {
            Some(room) if *room < bytes => Err(io::ErrorKind::StorageFull.into()),
            Some(room) => {
                *room -= bytes;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

fn draw(entropy: &SeededEntropy, below: usize) -> usize {
    let mut bytes = [0; 8];
    entropy.fill(&mut bytes);
    (u64::from_le_bytes(bytes) % below.max(1) as u64) as usize
}

fn lose_power(state: &mut State, entropy: &SeededEntropy) {
    let all: BTreeSet<String> = state
        .names
        .keys()
        .chain(state.durable_names.keys())
        .cloned()
        .collect();
    for name in all {
        let (current, durable) = (
            state.names.get(&name).copied(),
            state.durable_names.get(&name).copied(),
        );
        let kept = if draw(entropy, 2) == 0 {
            durable
        } else {
            current
        };
        for names in [&mut state.names, &mut state.durable_names] {
            match kept {
                Some(file) => names.insert(name.clone(), file),
                None => names.remove(&name),
            };
        }
    }
    for content in state.files.values_mut() {
        *content = torn(content, entropy);
    }
    let named: BTreeSet<u64> = state.names.values().copied().collect();
    state.files.retain(|file, _| named.contains(file));
}

fn torn(content: &Content, entropy: &SeededEntropy) -> Content {
    if content.dirty.is_empty() && content.current.len() == content.durable.len() {
        // Also what a failed sync has given up is as it was before.
        return Content {
            current: content.durable.clone(),
            ..content.clone()
        };
    }
    let grown = content.current.len().saturating_sub(content.durable.len());
    let length = content.durable.len() + draw(entropy, grown + 1);
    let mut bytes = content.durable.clone();
    bytes.resize(length, 0);
    for sector in &content.dirty {
        let range = sector * SECTOR..((sector + 1) * SECTOR).min(length);
        if !range.is_empty() && draw(entropy, 2) == 1 {
            bytes[range.clone()].copy_from_slice(&content.current[range]);
        }
    }
    Content {
        current: bytes.clone(),
        durable: bytes,
        dirty: BTreeSet::new(),
    }
}

/// One life's view of the disk.
pub(super) struct SimulatedLife {
    pub disk: Arc<SimulatedDisk>,
    pub life: u64,
}

/// An open file of one life.
pub(super) struct SimulatedFile {
    disk: Arc<SimulatedDisk>,
    life: u64,
    file: u64,
    is_writable: bool,
}

impl SimulatedLife {
    fn with<T>(&self, action: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        action(self.disk.state().alive(self.life)?)
    }

    fn file(&self, file: u64, is_writable: bool) -> SimulatedFile {
        SimulatedFile {
            disk: self.disk.clone(),
            life: self.life,
            file,
            is_writable,
        }
    }

    fn open_by(&self, path: &str, is_writable: bool) -> io::Result<Option<SimulatedFile>> {
        let found = self.with(|state| Ok(state.names.get(path).copied()))?;
        Ok(found.map(|file| self.file(file, is_writable)))
    }
}

impl Disk for SimulatedLife {
    type File = SimulatedFile;

    fn open(&self, path: &str) -> io::Result<Option<SimulatedFile>> {
        self.open_by(path, false)
    }

    fn open_to_write(&self, path: &str) -> io::Result<Option<SimulatedFile>> {
        self.open_by(path, true)
    }

    fn create(&self, path: &str) -> io::Result<SimulatedFile> {
        let file = self.with(|state| {
            if state.names.contains_key(path) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            let file = state.new_file();
            state.files.insert(file, Content::default());
            state.names.insert(path.to_owned(), file);
            Ok(file)
        })?;
        Ok(self.file(file, true))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.with(|state| {
            let removed = state.names.remove(path);
            let bytes = removed.and_then(|file| state.files.get(&file));
            let bytes = bytes.map_or(0, |content| content.current.len() as u64);
            if let Some(room) = &mut state.room_bytes {
                *room += bytes;
            }
            Ok(())
        })
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let prefix = if folder.is_empty() {
            String::new()
        } else {
            format!("{folder}/")
        };
        self.with(|state| {
            let below = state
                .names
                .keys()
                .filter_map(|path| path.strip_prefix(prefix.as_str()));
            let mut names: Vec<String> = below
                .filter_map(|rest| rest.split('/').next())
                .map(str::to_owned)
                .collect();
            names.dedup();
            Ok(names)
        })
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        let prefix = format!("{folder}/");
        self.with(|state| {
            state.count_sync()?;
            state
                .durable_names
                .retain(|path, _| !path.starts_with(&prefix));
            let current = state
                .names
                .iter()
                .filter(|(path, _)| path.starts_with(&prefix));
            let current: Vec<_> = current.map(|(path, file)| (path.clone(), *file)).collect();
            state.durable_names.extend(current);
            Ok(())
        })
    }

    fn room(&self) -> io::Result<Option<u64>> {
        self.with(|state| Ok(state.room_bytes))
    }
}

impl SimulatedFile {
    fn with<T>(&self, action: impl FnOnce(&mut State, u64) -> io::Result<T>) -> io::Result<T> {
        action(self.disk.state().alive(self.life)?, self.file)
    }

    fn write(&self, offset: usize, bytes: &[u8]) -> io::Result<()> {
        if !self.is_writable {
            return Err(io::Error::from_raw_os_error(libc::EBADF));
        }
        self.with(|state, file| write(state, file, offset, bytes))
    }
}

fn content(state: &mut State, file: u64) -> io::Result<&mut Content> {
    state
        .files
        .get_mut(&file)
        .ok_or_else(|| io::ErrorKind::NotFound.into())
}

fn write(state: &mut State, file: u64, offset: usize, bytes: &[u8]) -> io::Result<()> {
    if state.failing_writes.next_fails() {
        put(state, file, offset, &bytes[..bytes.len() / 2])?;
        return Err(io::Error::from_raw_os_error(libc::EIO));
    }
    put(state, file, offset, bytes)
}

fn put(state: &mut State, file: u64, offset: usize, bytes: &[u8]) -> io::Result<()> {
    let end = offset + bytes.len();
    let grown = end.saturating_sub(content(state, file)?.current.len());
    state.take_room(grown as u64)?;
    let content = content(state, file)?;
    content.current.resize(content.current.len().max(end), 0);
    content.current[offset..end].copy_from_slice(bytes);
    content.dirty.extend(offset / SECTOR..end.div_ceil(SECTOR));
    Ok(())
}

impl DiskFile for SimulatedFile {
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        self.with(|state, file| {
            if state.failing_reads.next_fails() {
                return Err(io::Error::from_raw_os_error(libc::EIO));
            }
            let current = &content(state, file)?.current;
            let start = current.len().min(offset as usize);
            let end = current.len().min(start + out.len());
            out[..end - start].copy_from_slice(&current[start..end]);
            Ok(end - start)
        })
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write(offset as usize, bytes)
    }

    fn fill_zero(&self, bytes: u64) -> io::Result<()> {
        self.write(0, &vec![0; bytes as usize])
    }

    fn size(&self) -> io::Result<u64> {
        self.with(|state, file| Ok(content(state, file)?.current.len() as u64))
    }

    fn sync(&self) -> io::Result<()> {
        self.with(|state, file| {
            let counted = state.count_sync();
            let is_down = state.is_down;
            let content = content(state, file)?;
            if counted.is_err() && !is_down {
                content.dirty.clear();
            }
            counted?;
            content.durable.resize(content.current.len(), 0);
            for sector in std::mem::take(&mut content.dirty) {
                let range = sector * SECTOR..((sector + 1) * SECTOR).min(content.current.len());
                content.durable[range.clone()].copy_from_slice(&content.current[range]);
            }
            Ok(())
        })
    }
}
