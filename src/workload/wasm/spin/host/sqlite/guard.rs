//! What statements of a guest may do: anything within their own database, and nothing outside of it. As Spin has
//! it, but stricter where Spin lets a computed file name pass, and where a setting would reach other guests.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::{Connection, ffi};

use crate::workload::wasm::spin::host::bounds::Bounds;

/// Steps of SQLite's machine between looks at the clock; some microseconds' worth.
const STEPS: i32 = 10_000;
/// Bytes of a statement.
const STATEMENT: i32 = 1 << 20;

/// Settings that reach beyond the database: files elsewhere, memory and threads of the whole process, and what
/// was set for the guest.
const REFUSED_PRAGMAS: [&str; 10] = [
    "temp_store",
    "temp_store_directory",
    "data_store_directory",
    "hard_heap_limit",
    "soft_heap_limit",
    "mmap_size",
    "threads",
    "trusted_schema",
    "writable_schema",
    "cell_size_check",
];

/// Functions that act outside of the database.
const REFUSED_FUNCTIONS: [&str; 2] = ["load_extension", "fts3_tokenizer"];

/// When the statement at work has to be done.
#[derive(Debug, Clone, Default)]
pub struct Deadline(Arc<AtomicU64>);

/// What instants are counted from.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

impl Deadline {
    pub fn set(&self, at: Instant) {
        let since = at.saturating_duration_since(*START);
        self.0.store(
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
            Ordering::Relaxed,
        );
    }

    pub fn passed(&self) -> bool {
        START.elapsed() > Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}

/// Puts a connection under these rules, for good.
pub fn confine(connection: &mut Connection, bounds: &Bounds, deadline: Deadline) -> rusqlite::Result<()> {
    let longest = i32::try_from(bounds.call_bytes).unwrap_or(i32::MAX);
    connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, longest)?;
    connection.set_limit(Limit::SQLITE_LIMIT_SQL_LENGTH, STATEMENT.min(longest))?;
    connection.set_limit(Limit::SQLITE_LIMIT_WORKER_THREADS, 0)?;
    deadline.set(Instant::now() + Duration::from_secs(1));
    connection.progress_handler(STEPS, Some(move || deadline.passed()))?;
    connection.authorizer(Some(|context: AuthContext<'_>| authorize(context.action)))
}

fn authorize(action: AuthAction<'_>) -> Authorization {
    let refused = match action {
        // Temporary and empty ones, which VACUUM needs too.
        AuthAction::Attach { filename } => !["", ":memory:"].contains(&filename),
        // One whose name is computed or bound is not told here.
        AuthAction::Unknown { code, .. } => code == ffi::SQLITE_ATTACH,
        AuthAction::Pragma { pragma_name, .. } => is_one_of(&REFUSED_PRAGMAS, pragma_name),
        AuthAction::Function { function_name } => is_one_of(&REFUSED_FUNCTIONS, function_name),
        _ => false,
    };
    if refused {
        Authorization::Deny
    } else {
        Authorization::Allow
    }
}

fn is_one_of(names: &[&str], name: &str) -> bool {
    names.iter().any(|refused| refused.eq_ignore_ascii_case(name))
}
