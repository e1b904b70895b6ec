//! Every property of config.json, and where it is tested: the tests name what they assert, the types of oci-spec say
//! what there is, and the table in README.md is made from both. No test of a runtime in here.

mod types;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;

use libtest_mimic::Trial;

use crate::harness::suite::Covered;
use types::{Property, Types};

/// Names that the crate has wrong, and how the specification and everybody else write them.
const MISSPELT: [(&str, &str); 4] = [
    (
        "process.scheduler.flags=SCHED_RESET_ON_FORK",
        "process.scheduler.flags=SCHED_FLAG_RESET_ON_FORK",
    ),
    ("linux.intelRdt.enableCmt", "linux.intelRdt.enableCMT"),
    ("linux.intelRdt.enableMbm", "linux.intelRdt.enableMBM"),
    (
        "process.scheduler.flags=SCHED_FLAG_D_L_OVERRUN",
        "process.scheduler.flags=SCHED_FLAG_DL_OVERRUN",
    ),
];

/// What the specification has (1.3, schema/) and the crate has not.
const NOT_IN_THE_CRATE: [&str; 2] = ["vm.hwConfig", "freebsd"];

/// The trials: they need neither root nor a runtime.
pub fn trials(covered: Vec<Covered>) -> Vec<Trial> {
    let table = move || {
        let problems = Coverage::new(&all(), &covered).and_then(|coverage| coverage.check());
        problems.map_err(|problems| problems.into())
    };
    vec![
        Trial::test("properties::types_are_read_completely", || {
            types_are_read_completely();
            Ok(())
        }),
        Trial::test("properties::every_one_is_tested_and_in_the_table", table),
    ]
}

/// The crate takes a document with all that was read from its sources, in each form, and has nothing more to fill.
fn types_are_read_completely() {
    let types = Types::of_the_crate();
    let most = types.properties().iter().map(|own| own.values.len()).max();
    for choice in 0..most.expect("there are properties") {
        let document = types.document(choice);
        let spec: oci_spec::runtime::Spec = serde_json::from_value(document.clone())
            .unwrap_or_else(|error| panic!("oci-spec does not take it: {error}: {document:#}"));
        let shown = format!("{spec:#?}");
        for empty in [": None", ": []", ": {}", ": \"\"", ": 0,", ": false"] {
            assert!(!shown.contains(empty), "{empty} in {shown}");
        }
    }
}

/// What tests can name: properties, and the values of closed sets after a `=`.
fn all() -> Vec<Property> {
    let mut all = Types::of_the_crate().properties();
    let correct = |name: String| {
        let found = MISSPELT.iter().find(|(wrong, _)| *wrong == name);
        found.map_or(name, |(_, right)| (*right).to_owned())
    };
    for property in &mut all {
        property.path = correct(std::mem::take(&mut property.path));
        for value in &mut property.values {
            let whole = correct(format!("{}={value}", property.path));
            *value = whole.split_once('=').expect("it has one").1.to_owned();
        }
    }
    all.extend(NOT_IN_THE_CRATE.map(|path| Property {
        path: path.to_owned(),
        values: Vec::new(),
    }));
    all
}

/// All that a property of a closed set can be.
pub fn values_of(path: &str) -> Vec<String> {
    let property = all().into_iter().find(|property| property.path == path);
    property.expect("it is a property").values
}

/// A config.json with every property, one value of each closed set.
pub fn document() -> serde_json::Value {
    Types::of_the_crate().document(0)
}

/// The tests of each property and value.
struct Coverage<'a> {
    all: &'a [Property],
    tests: BTreeMap<String, BTreeSet<String>>,
    /// What is tested on runc as well.
    on_runc: BTreeSet<String>,
}

impl<'a> Coverage<'a> {
    /// An error for each name that is none of a property.
    fn new(all: &'a [Property], covered: &[Covered]) -> Result<Self, String> {
        let mut coverage = Coverage {
            all,
            tests: BTreeMap::new(),
            on_runc: BTreeSet::new(),
        };
        let names: Vec<String> = all.iter().flat_map(names).collect();
        for one in covered {
            for pattern in alternatives(one.pattern) {
                let found: Vec<_> = names.iter().filter(|name| matches(&pattern, name)).collect();
                if found.is_empty() {
                    return Err(format!("{} names {pattern}, which is no property", one.test));
                }
                for name in found {
                    let tests = coverage.tests.entry(name.clone()).or_default();
                    tests.insert(one.test.clone());
                    if one.on_runc {
                        coverage.on_runc.insert(name.clone());
                    }
                }
            }
        }
        Ok(coverage)
    }

    /// Nothing is without a test, and README.md says where each is. `BLESS=1` in the environment writes it anew.
    fn check(&self) -> Result<(), String> {
        let untested: Vec<_> = self
            .all
            .iter()
            .flat_map(names)
            .filter(|name| !self.tests.contains_key(name))
            .collect();
        if !untested.is_empty() {
            return Err(format!("no test names {untested:#?}"));
        }
        let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("integration/README.md");
        let readme = std::fs::read_to_string(&file).expect("integration/README.md");
        let (before, rest) = readme
            .split_once(START)
            .expect("README.md has a place for the table");
        let (_, after) = rest.split_once(END).expect("the table ends");
        let fresh = format!("{before}{START}{}{END}{after}", self.table());
        if readme == fresh {
            return Ok(());
        }
        if std::env::var_os("BLESS").is_none() {
            return Err("the table in integration/README.md is not fresh; run with BLESS=1".to_owned());
        }
        std::fs::write(&file, fresh).map_err(|error| error.to_string())
    }

    /// A line for each property, and one for each set of values that has the same tests.
    fn table(&self) -> String {
        let mut table = String::from("\n| property | tests | on runc too |\n|---|---|---|\n");
        let mut line = |shown: &str, tests: &BTreeSet<String>, on_runc: bool| {
            let tests: Vec<_> = tests.iter().map(|test| format!("`{test}`")).collect();
            let on_runc = if on_runc { "yes" } else { "" };
            writeln!(table, "| {shown} | {} | {on_runc} |", tests.join(", ")).expect("a string takes it");
        };
        let none = BTreeSet::new();
        for property in self.all {
            let path = &property.path;
            let tests = |name: &String| self.tests.get(name).unwrap_or(&none);
            line(&format!("`{path}`"), tests(path), self.on_runc.contains(path));
            let mut groups: Vec<(Vec<&str>, &BTreeSet<String>, bool)> = Vec::new();
            for value in &property.values {
                let name = format!("{path}={value}");
                let (tests, on_runc) = (tests(&name), self.on_runc.contains(&name));
                let group = groups
                    .iter_mut()
                    .find(|group| group.1 == tests && group.2 == on_runc);
                match group {
                    Some(group) => group.0.push(value),
                    None => groups.push((vec![value], tests, on_runc)),
                }
            }
            let alone = groups.len() == 1;
            for (values, tests, on_runc) in groups {
                let shown = match alone {
                    true => format!("each of its {} values", values.len()),
                    false => values
                        .iter()
                        .map(|value| format!("`{value}`"))
                        .collect::<Vec<_>>()
                        .join(", "),
                };
                line(&format!("… {shown}"), tests, on_runc);
            }
        }
        table
    }
}

const START: &str = "<!-- made from the tests; BLESS=1 makes it anew -->\n";
const END: &str = "\n<!-- the end of what is made -->\n";

/// A property's own name and those of its values.
fn names(property: &Property) -> Vec<String> {
    let values = property
        .values
        .iter()
        .map(|value| format!("{}={value}", property.path));
    std::iter::once(property.path.clone()).chain(values).collect()
}

/// `a.{b,c}` is `a.b` and `a.c`.
fn alternatives(pattern: &str) -> Vec<String> {
    let parts = pattern.split_once('{').and_then(|(before, rest)| {
        let (inner, after) = rest.split_once('}')?;
        Some((before, inner, after))
    });
    match parts {
        None => vec![pattern.to_owned()],
        Some((before, inner, after)) => inner
            .split(',')
            .flat_map(|one| alternatives(&format!("{before}{}{after}", one.trim())))
            .collect(),
    }
}

/// A star at the end stands for anything: `windows.*`, `linux.namespaces.type=*`.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    }
}
