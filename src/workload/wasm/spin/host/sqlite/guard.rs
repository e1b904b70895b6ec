//! What statements of a guest may do: anything within their own database, and nothing outside of it. As Spin has
//! it, but stricter where Spin lets a computed file name pass, and where a setting or another database in memory
//! would take from other guests.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::{Connection, ffi};

use super::functions;
use crate::workload::wasm::spin::host::bounds::Bounds;

/// Steps of SQLite's machine between looks at the clock. Few, since one step may be a function of a long text.
const STEPS: i32 = 100;
/// Bytes of a statement.
const STATEMENT: i32 = 1 << 20;
/// Bytes of a value: what a function does with it is not ended in its midst. More of that is in [`functions`].
const VALUE: i32 = 4 << 20;
/// Bytes of a pattern of LIKE and GLOB, whose time is that of the text times that of the pattern.
const PATTERN: i32 = 1000;
/// The one that VACUUM needs.
const ATTACHED: i32 = 1;
/// Bytes of a page, unless the database says otherwise.
const PAGE: usize = 4096;
/// KiB of pages that are kept in memory.
const CACHE: i64 = 1000;

/// Settings that reach beyond the database: files elsewhere, memory, threads and time of the whole process, and
/// what was set for the guest.
const REFUSED_PRAGMAS: [&str; 15] = [
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
    "busy_timeout",
    "cache_size",
    "cache_spill",
    "default_cache_size",
    "max_page_count",
];

/// Functions that act outside of the database.
const REFUSED_FUNCTIONS: [&str; 2] = ["load_extension", "fts3_tokenizer"];

/// What is going on on a connection, of which one call is at work at a time.
#[derive(Debug, Clone, Default)]
pub struct Watch(Arc<State>);

#[derive(Debug, Default)]
struct State {
    /// When the statement at work has to be done.
    deadline: AtomicU64,
    /// The number of the call at work, and of the last one that nobody waits for any more.
    call: AtomicU64,
    left: AtomicU64,
    /// Whether SQLite asked to wait for another connection.
    busy: AtomicBool,
    /// Whether it is a guest's statement that is being prepared, and not what SQLite runs on its behalf.
    preparing: AtomicBool,
    /// Whether what is set is set by us.
    ours: AtomicBool,
    /// Whether [`bound`] is done.
    bound: AtomicBool,
}

/// What instants are counted from.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

impl Watch {
    pub fn set_deadline(&self, at: Instant) {
        let since = at.saturating_duration_since(*START);
        self.0.deadline.store(
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
            Ordering::Relaxed,
        );
    }

    pub fn passed(&self) -> bool {
        START.elapsed() > Duration::from_millis(self.0.deadline.load(Ordering::Relaxed))
    }

    /// The next call, for whoever has the connection; gives its number.
    pub fn begin(&self) -> u64 {
        self.0.call.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Nobody waits for this call any more.
    pub fn leave(&self, call: u64) {
        self.0.left.fetch_max(call, Ordering::Relaxed);
    }

    /// Whether nobody waits for the call at work. Those before it have ended, so it is one that was left itself.
    pub fn left(&self) -> bool {
        let call = self.0.call.load(Ordering::Relaxed);
        call > 0 && self.0.left.load(Ordering::Relaxed) >= call
    }

    /// Whether SQLite asked to wait since this was asked last.
    pub fn was_busy(&self) -> bool {
        self.0.busy.swap(false, Ordering::Relaxed)
    }

    pub fn preparing(&self, is: bool) {
        self.0.preparing.store(is, Ordering::Relaxed);
    }

    fn authorize(&self, action: AuthAction<'_>) -> Authorization {
        let refused = match action {
            // The temporary one that VACUUM needs while it runs.
            AuthAction::Attach { filename } => {
                !filename.is_empty() || self.0.preparing.load(Ordering::Relaxed)
            }
            // One whose name is computed or bound is not told here.
            AuthAction::Unknown { code, .. } => code == ffi::SQLITE_ATTACH,
            AuthAction::Pragma {
                pragma_name,
                pragma_value,
            } => {
                // The size of pages makes their number a size.
                let resized = pragma_value.is_some() && is_one_of(&["page_size"], pragma_name);
                let refused = resized || is_one_of(&REFUSED_PRAGMAS, pragma_name);
                refused && !self.0.ours.load(Ordering::Relaxed)
            }
            AuthAction::Function { function_name } => is_one_of(&REFUSED_FUNCTIONS, function_name),
            _ => false,
        };
        if refused {
            Authorization::Deny
        } else {
            Authorization::Allow
        }
    }
}

/// Puts a connection under these rules, for good.
pub fn confine(connection: &mut Connection, bounds: &Bounds, watch: &Watch) -> rusqlite::Result<()> {
    let longest = i32::try_from(bounds.call_bytes).unwrap_or(i32::MAX).min(VALUE);
    connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, longest)?;
    connection.set_limit(Limit::SQLITE_LIMIT_SQL_LENGTH, STATEMENT.min(longest))?;
    connection.set_limit(Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, PATTERN)?;
    connection.set_limit(Limit::SQLITE_LIMIT_ATTACHED, ATTACHED)?;
    connection.set_limit(Limit::SQLITE_LIMIT_WORKER_THREADS, 0)?;
    functions::bound(connection, longest, watch)?;
    watch.set_deadline(Instant::now() + Duration::from_secs(1));
    let ended = watch.clone();
    connection.progress_handler(STEPS, Some(move || ended.passed() || ended.left()))?;
    // A thread that waits for another connection is one less for those who could go on, so whoever asks waits.
    let busy = watch.clone();
    connection.busy_handler(Some(move |_| {
        busy.0.busy.store(true, Ordering::Relaxed);
        false
    }))?;
    let watch = watch.clone();
    connection.authorizer(Some(move |context: AuthContext<'_>| {
        watch.authorize(context.action)
    }))
}

/// Bounds what a connection keeps in memory, which needs a look at the file, and so may have to wait.
pub fn bound(
    connection: &Connection,
    in_memory: bool,
    bounds: &Bounds,
    watch: &Watch,
) -> rusqlite::Result<()> {
    if watch.0.bound.load(Ordering::Relaxed) {
        return Ok(());
    }
    let pages = i64::try_from(bounds.call_bytes / PAGE).unwrap_or(i64::MAX);
    let set = |schema: &str, name: &str, value: i64| {
        connection
            .pragma_update_and_check(Some(schema), name, value, |_| Ok(()))
            .or_else(|error| match error {
                rusqlite::Error::QueryReturnedNoRows => Ok(()),
                error => Err(error),
            })
    };
    watch.0.ours.store(true, Ordering::Relaxed);
    let outcome = set("temp", "max_page_count", pages)
        // Negative numbers are KiB.
        .and_then(|()| set("main", "cache_size", -CACHE))
        .and_then(|()| match in_memory {
            true => set("main", "max_page_count", pages),
            false => Ok(()),
        });
    watch.0.ours.store(false, Ordering::Relaxed);
    outcome?;
    watch.0.bound.store(true, Ordering::Relaxed);
    Ok(())
}

fn is_one_of(names: &[&str], name: &str) -> bool {
    names.iter().any(|refused| refused.eq_ignore_ascii_case(name))
}
