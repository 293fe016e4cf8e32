//! What an operator asks of a server: write memtables to the disk, merge SSTables, make a key. Each kind of server is asked in its own way; one that runs
//! already is left alone.

use std::io;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::{Kind, Server};
use crate::bench::load::run_statement;
use crate::bench::process;
use crate::raw::{Answer, Connection};

impl Server {
    /// Writes the memtables of a keyspace's tables to the disk.
    pub async fn flush(&self, keyspace: &str) -> io::Result<()> {
        self.order("flush", keyspace).await
    }

    /// Merges the SSTables of each of a keyspace's tables into as few as there can be.
    pub async fn compact(&self, keyspace: &str) -> io::Result<()> {
        self.order("compact", keyspace).await
    }

    /// Lets Cassandra write a keyspace's memtables by itself, so often, or no more: an order would cost it and the client a process each time. Ours is told.
    pub async fn flush_by_itself(&self, keyspace: &str, every: Option<Duration>) -> io::Result<()> {
        if !self.orders_are_slow() {
            return Ok(());
        }
        let mut connection = Connection::open(self.address).await?;
        let tables = format!(
            "SELECT table_name FROM system_schema.tables WHERE keyspace_name = '{keyspace}'"
        );
        let Answer::Rows(tables) = run_statement(&mut connection, &tables).await? else {
            return Ok(());
        };
        let milliseconds = every.map_or(0, |every| every.as_millis());
        for name in tables.rows.iter().flatten().flatten() {
            let name = String::from_utf8_lossy(name);
            let statement = format!(
                "ALTER TABLE {keyspace}.{name} WITH memtable_flush_period_in_ms = {milliseconds}"
            );
            run_statement(&mut connection, &statement).await?;
        }
        Ok(())
    }

    async fn order(&self, order: &str, keyspace: &str) -> io::Result<()> {
        match &self.recipe.kind {
            Kind::Palladium { .. } => {
                let mut connection = Connection::open(self.address).await?;
                let statement = format!(
                    "INSERT INTO system_palladium.maintenance (operation, keyspace_name, table_name) VALUES ('{order}', '{keyspace}', '')"
                );
                run_statement(&mut connection, &statement).await.map(drop)
            }
            Kind::Cassandra(_) => self.nodetool(&[order, keyspace]),
            Kind::Floor | Kind::Running { .. } => Ok(()),
        }
    }

    /// Whether an order costs a process of its own, and a second.
    pub fn orders_are_slow(&self) -> bool {
        matches!(self.recipe.kind, Kind::Cassandra(_))
    }

    fn nodetool(&self, arguments: &[&str]) -> io::Result<()> {
        let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let installed = Command::new(here.join("install"))
            .arg("cassandra")
            .stderr(Stdio::null())
            .output()?;
        let lib = String::from_utf8_lossy(&installed.stdout).trim().to_owned() + "/lib/*";
        let mut command = Command::new("java");
        command.args(["-Xmx128M", "-XX:TieredStopAtLevel=1"]);
        for package in [
            "java.nio",
            "sun.nio.ch",
            "jdk.internal.ref",
            "jdk.internal.misc",
        ] {
            command.args(["--add-opens", &format!("java.base/{package}=ALL-UNNAMED")]);
        }
        command.args(["--add-exports", "java.rmi/sun.rmi.registry=ALL-UNNAMED"]);
        // It writes a history of its commands at home.
        if let Some(folder) = self.folder() {
            command.arg(format!("-Duser.home={}", folder.display()));
        }
        let output = command
            .args(["-cp", &lib, "org.apache.cassandra.tools.NodeTool"])
            .args(["-h", "127.0.0.1", "-p", &self.orders_port.to_string()])
            .args(arguments)
            .stdin(Stdio::null())
            .output()?;
        match output.status.success() {
            true => Ok(()),
            false => Err(io::Error::other(format!(
                "nodetool {arguments:?}: {}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            ))),
        }
    }

    /// Makes a key in the keyring of a server of ours.
    pub fn create_key(&self, name: &str) -> io::Result<()> {
        let (Kind::Palladium { program, .. }, Some(folder)) = (&self.recipe.kind, self.folder())
        else {
            return Err(io::Error::other("only ours has keys"));
        };
        let output = Command::new(program)
            .args(["key", "create", name, "--keyring"])
            .arg(folder.join("keyring"))
            .stdin(Stdio::null())
            .output()?;
        match output.status.success() {
            true => Ok(()),
            false => Err(io::Error::other(
                String::from_utf8_lossy(&output.stderr).into_owned(),
            )),
        }
    }

    /// Bytes of a keyspace's data on the disk, logs left out. Ours does not keep keyspaces apart, and its own tables are small.
    pub fn data_bytes(&self, keyspace: &str) -> io::Result<Option<u64>> {
        let folder = match (&self.recipe.kind, self.folder()) {
            (Kind::Palladium { .. }, Some(folder)) => folder.join("data/blobs"),
            (Kind::Cassandra(_), Some(folder)) => folder.join("data/data").join(keyspace),
            _ => return Ok(None),
        };
        process::disk_bytes(&folder).map(Some)
    }

    /// Bytes of everything that it keeps.
    pub fn folder_bytes(&self) -> io::Result<Option<u64>> {
        self.folder().map(process::disk_bytes).transpose()
    }
}
