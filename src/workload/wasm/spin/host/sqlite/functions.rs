//! Functions of SQLite's own whose time is that of one argument times that of another. Nothing ends a function in its
//! midst: with arguments as long as values may be, some would take hours. So where arguments are too long for each
//! other these are refused, and not begun when a statement's time is over.

use std::ffi::c_uint;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::functions::{Context, FunctionFlags, SubType};
use rusqlite::limits::Limit;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, Error, ToSql, params_from_iter};

use super::guard::Watch;

/// One of them.
#[derive(Clone, Copy)]
struct Slow {
    name: &'static str,
    arguments: u8,
    /// The product of the bytes of the first two arguments for which it takes a second at most.
    most: u64,
    sub_type: SubType,
}

/// What SQLite knows a text by that is JSON.
const JSON: c_uint = 'J' as c_uint;

const SLOW: [Slow; 8] = [
    Slow::new("trim", 2, 1 << 28),
    Slow::new("ltrim", 2, 1 << 28),
    Slow::new("rtrim", 2, 1 << 28),
    Slow::new("unhex", 2, 1 << 28),
    Slow::new("instr", 2, 1 << 33),
    Slow::new("replace", 3, 1 << 33),
    Slow {
        sub_type: Some(JSON),
        ..Slow::new("json_patch", 2, 1 << 32)
    },
    Slow::new("jsonb_patch", 2, 1 << 32),
];

impl Slow {
    const fn new(name: &'static str, arguments: u8, most: u64) -> Self {
        Self {
            name,
            arguments,
            most,
            sub_type: None,
        }
    }

    /// The bytes of an argument, as a text has them.
    fn length(value: ValueRef<'_>) -> u64 {
        /// No number has more.
        const NUMBER: u64 = 32;
        let bytes = value.as_bytes_or_null().ok().flatten();
        bytes.map_or(NUMBER, |bytes| bytes.len() as u64)
    }

    fn call(self, context: &Context<'_>, plain: &Plain, watch: &Watch) -> rusqlite::Result<Outcome> {
        if watch.passed() || watch.left() {
            return Err(failed("interrupted"));
        }
        let (one, other) = (Self::length(context.get_raw(0)), Self::length(context.get_raw(1)));
        if one.saturating_mul(other) > self.most {
            let name = self.name;
            return Err(failed(&format!(
                "{name}() of {one} and {other} bytes would take too long"
            )));
        }
        let arguments = (0..context.len()).map(|index| ToSqlOutput::Borrowed(context.get_raw(index)));
        plain.call(self, arguments)
    }
}

fn failed(text: &str) -> Error {
    Error::UserFunctionError(text.into())
}

/// A connection whose functions are SQLite's own, made when it is first needed.
struct Plain {
    connection: Mutex<Option<Connection>>,
    /// Bytes of a value.
    longest: i32,
}

impl Plain {
    fn call<'a>(
        &self,
        Slow { name, arguments, .. }: Slow,
        values: impl Iterator<Item = ToSqlOutput<'a>>,
    ) -> rusqlite::Result<Outcome> {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let connection = match &mut *connection {
            Some(connection) => connection,
            none => {
                let made = Connection::open_in_memory()?;
                made.set_limit(Limit::SQLITE_LIMIT_LENGTH, self.longest)?;
                none.insert(made)
            }
        };
        let places = vec!["?"; arguments.into()].join(", ");
        let mut statement = connection.prepare_cached(&format!("SELECT {name}({places})"))?;
        // What is wrong with the values is the guest's to know, without the statement that it did not write.
        let outcome = statement.query_row(params_from_iter(values), |row| Ok(Outcome::from(row.get_ref(0)?)));
        outcome.map_err(|error| match error {
            Error::SqliteFailure(_, Some(text)) => failed(&text),
            error => error,
        })
    }
}

/// What a function gives. A text need not be UTF-8.
enum Outcome {
    Null,
    Integer(i64),
    Real(f64),
    Text(Vec<u8>),
    Blob(Vec<u8>),
}

impl From<ValueRef<'_>> for Outcome {
    fn from(value: ValueRef<'_>) -> Self {
        match value {
            ValueRef::Null => Self::Null,
            ValueRef::Integer(number) => Self::Integer(number),
            ValueRef::Real(number) => Self::Real(number),
            ValueRef::Text(bytes) => Self::Text(bytes.to_vec()),
            ValueRef::Blob(bytes) => Self::Blob(bytes.to_vec()),
        }
    }
}

impl ToSql for Outcome {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Integer(number) => ValueRef::Integer(*number),
            Self::Real(number) => ValueRef::Real(*number),
            Self::Text(bytes) => ValueRef::Text(bytes),
            Self::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

/// Bounds them on a connection whose values have so many bytes at most.
pub fn bound(connection: &Connection, longest: i32, watch: &Watch) -> rusqlite::Result<()> {
    let plain = Arc::new(Plain {
        connection: Mutex::new(None),
        longest,
    });
    // As SQLite's own are, so that indexes and views may have them.
    let flags = FunctionFlags::SQLITE_UTF8
        | FunctionFlags::SQLITE_DETERMINISTIC
        | FunctionFlags::SQLITE_INNOCUOUS
        | FunctionFlags::SQLITE_RESULT_SUBTYPE;
    for slow in SLOW {
        let (plain, watch) = (Arc::clone(&plain), watch.clone());
        let function = move |context: &mut Context<'_>| {
            let outcome = slow.call(context, &plain, &watch)?;
            Ok((outcome, slow.sub_type))
        };
        connection.create_scalar_function(slow.name, slow.arguments.into(), flags, function)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use rusqlite::types::Value;

    use super::*;

    const LONGEST: i32 = 4 << 20;

    fn bounded() -> (Connection, Watch) {
        let (connection, watch) = (
            Connection::open_in_memory().expect("a database"),
            Watch::default(),
        );
        bound(&connection, LONGEST, &watch).expect("bounded");
        watch.set_deadline(Instant::now() + Duration::from_secs(1000));
        (connection, watch)
    }

    fn said(connection: &Connection, expression: &str) -> Result<Value, String> {
        let select = format!("SELECT {expression}");
        let said = connection.query_row(&select, [], |row| row.get(0));
        said.map_err(|error| error.to_string())
    }

    #[test]
    fn they_give_what_sqlite_s_own_give() {
        let (own, (bounded, _)) = (Connection::open_in_memory().expect("a database"), bounded());
        let values = [
            "NULL",
            "''",
            "'a'",
            "'xaax'",
            "'ä€a'",
            "'€'",
            "x''",
            "x'61'",
            "x'e4'",
            "12",
            "2",
            "-1.50",
            "1e300",
            "'4 1-4'",
            "' -'",
            "'{\"a\":1,\"b\":[2]}'",
            "'{\"a\":null,\"c\":{}}'",
            "'{'",
        ];
        let mut asked = Vec::new();
        for one in values {
            for other in values {
                let names = ["trim", "ltrim", "rtrim", "unhex", "instr", "json_patch"];
                asked.extend(names.map(|name| format!("{name}({one}, {other})")));
                asked.push(format!("json_array(json_patch({one}, {other}))"));
                asked.push(format!("json(jsonb_patch({one}, {other}))"));
                asked.extend(values.map(|third| format!("replace({one}, {other}, {third})")));
            }
        }
        for expression in asked {
            let typed = format!("typeof({expression}) || quote({expression})");
            match (said(&own, &typed), said(&bounded, &typed)) {
                (Err(_), Err(_)) => {}
                (own, bounded) => assert_eq!(own, bounded, "{expression}"),
            }
        }
        // With one argument it is SQLite's own, and has no such time.
        assert_eq!(
            said(&bounded, "length(trim(zeroblob(1000)))"),
            Ok(Value::Integer(0))
        );
    }

    #[test]
    fn an_index_may_have_them() {
        let (connection, _) = bounded();
        let statements = "CREATE TABLE t (a); CREATE INDEX i ON t (replace(a, 'a', 'b')); \
                          CREATE VIEW v AS SELECT trim(a, 'x') FROM t; INSERT INTO t VALUES ('xax');";
        connection.execute_batch(statements).expect("made");
        let found = connection.query_row("SELECT * FROM v", [], |row| row.get::<_, String>(0));
        assert_eq!(found.expect("a row"), "a");
    }

    #[test]
    fn none_takes_longer_than_a_statement_may() {
        let (connection, watch) = bounded();
        // Little, since all tests of this process have together what the smallest container of theirs may.
        let (a, b) = ("a".repeat(100_000), "b".repeat(100_000));
        let object = |pair: &str| format!("{{{}}}", [pair; 14_000].join(","));
        for (function, one, other) in [
            ("trim(?, ?)", a.clone(), format!("{b}a")),
            ("ltrim(?, ?)", a.clone(), format!("{b}a")),
            ("rtrim(?, ?)", a.clone(), format!("{b}a")),
            ("unhex(?, ?)", format!("{b}x"), a.clone()),
            ("instr(?, ?)", a.clone(), format!("{}b", &a[1..])),
            ("replace(?, ?, '')", a.clone(), format!("{}b", &a[1..])),
            ("json_patch(?, ?)", object("\"a\":1"), object("\"b\":1")),
            ("jsonb_patch(?, ?)", object("\"a\":1"), object("\"b\":1")),
        ] {
            let began = Instant::now();
            let select = format!("SELECT {function}");
            let said = connection.query_row(&select, [one, other], |row| row.get::<_, Value>(0));
            let error = said.expect_err(function).to_string();
            assert!(error.contains("would take too long"), "{function}: {error}");
            assert!(began.elapsed() < Duration::from_secs(20), "{function}");
        }
        watch.set_deadline(Instant::now() - Duration::from_millis(1));
        let error = said(&connection, "trim('a', 'b')").expect_err("its time is over");
        assert!(error.contains("interrupted"), "{error}");
    }
}
