//! Where a database is, and opening it as one that may come from anybody: the file may be the image's.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::workload::wasm::spin::host::bounds::Bounds;

/// Bytes that SQLite may take in this process for each byte of a call.
const HEAP: usize = 4;

/// A database's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Each connection has its own.
    Memory,
    /// Absolute.
    File(PathBuf),
}

impl Place {
    /// Opens it, making it and the directories on the way where there is nothing. It does not wait for other
    /// connections: what reads the file comes later.
    pub fn open(&self, bounds: &Bounds) -> Result<Connection, String> {
        match self {
            Self::Memory => open(Path::new(":memory:"), bounds).map_err(|error| self.named(&error)),
            Self::File(path) => {
                let path = resolved(path).map_err(|error| self.named(&error))?;
                open(&path, bounds).map_err(|error| self.named(&error))
            }
        }
    }

    /// An error, with the file that it is about.
    pub fn named(&self, error: &dyn std::fmt::Display) -> String {
        match self {
            Self::Memory => error.to_string(),
            Self::File(path) => format!("{}: {error}", path.display()),
        }
    }
}

/// The path with the links of its directories followed. The file itself must be none: SQLite keeps its journal
/// beside the name, and two names of one file would have two journals.
fn resolved(path: &Path) -> std::io::Result<PathBuf> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(std::io::Error::other("is not the path of a file"));
    };
    fs::create_dir_all(directory)?;
    Ok(fs::canonicalize(directory)?.join(name))
}

/// No URIs, by which a name could have options: a path that begins with a slash is none.
fn open(path: &Path, bounds: &Bounds) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_PRIVATE_CACHE
            | OpenFlags::SQLITE_OPEN_NOFOLLOW,
    )?;
    connection.busy_timeout(Duration::ZERO)?;
    // What a schema of somebody else's says is not run, and its tables are read with suspicion.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    let heap = i64::try_from(bounds.call_bytes.saturating_mul(HEAP)).unwrap_or(i64::MAX);
    let pragma = |name: &str, value: i64| {
        // Some give their value back, which is not asked for.
        connection
            .pragma_update_and_check(None, name, value, |_| Ok(()))
            .or_else(|error| match error {
                rusqlite::Error::QueryReturnedNoRows => Ok(()),
                error => Err(error),
            })
    };
    pragma("cell_size_check", 1)?;
    // A file that is cut off by somebody else while it is mapped would end this process.
    pragma("mmap_size", 0)?;
    // Temporary tables have no file: there may be no place for one, and it would be outside of the database.
    pragma("temp_store", 2)?;
    // Of all connections together, so that the guest is told before the kernel ends the container.
    pragma("hard_heap_limit", heap)?;
    Ok(connection)
}
