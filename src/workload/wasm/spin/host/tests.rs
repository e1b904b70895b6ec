//! Which stores and databases there are for whom.

use super::*;

pub fn stores(config: &str, directory: &Path) -> Arc<Stores> {
    let config = RuntimeConfig::parse(config).expect("a configuration");
    Arc::new(Stores::new(&config, Trusts::default(), directory, None).expect("stores"))
}

/// Those of an application whose component trusts this authority to be these hosts.
pub fn trusting(root: &str, hosts: &[&str]) -> Arc<Stores> {
    let mut trusts = Trusts::default();
    let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    trusts.add(
        &["c".to_owned()],
        &hosts,
        Trust::new(root.as_bytes(), false).expect("a root"),
    );
    let config = RuntimeConfig::default();
    Arc::new(Stores::new(&config, trusts, Path::new("/nonexistent"), None).expect("stores"))
}

/// A component that may use every store, database and host that a test names.
pub fn granted(labels: &[&str], hosts: &[&str]) -> Arc<Grants> {
    let labels: BTreeSet<String> = labels.iter().map(|label| (*label).to_owned()).collect();
    Arc::new(Grants {
        component: "c".to_owned(),
        key_value_stores: labels.clone(),
        sqlite_databases: labels,
        allowed_hosts: AllowedHosts::parse(hosts).expect("hosts"),
        variables: BTreeMap::new(),
    })
}

#[test]
fn labels_without_a_store_are_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let stores = stores("[key_value_store.more]\ntype = \"spin\"", directory.path());
    stores.check(&Grants::default()).expect("nothing is granted");
    let mut grants = Grants {
        component: "c".to_owned(),
        key_value_stores: ["default".to_owned(), "more".to_owned()].into(),
        sqlite_databases: ["default".to_owned()].into(),
        ..Grants::default()
    };
    stores.check(&grants).expect("all are there");
    grants.sqlite_databases.insert("more".to_owned());
    assert_eq!(
        stores.check(&grants).expect_err("no such database").to_string(),
        "/spin.toml: component c: sqlite_databases: there is no `more`; /runtime-config.toml must have [sqlite_database.more]"
    );
    grants.key_value_stores.insert("other".to_owned());
    assert_eq!(
        stores.check(&grants).expect_err("no such store").to_string(),
        "/spin.toml: component c: key_value_stores: there is no `other`; /runtime-config.toml must have [key_value_store.other]"
    );
    assert!(
        std::fs::read_dir(directory.path())
            .expect("a directory")
            .next()
            .is_none(),
        "nothing is opened yet"
    );
}

#[test]
fn addresses_of_redis_are_checked_at_once() {
    for (url, reason) in [
        (
            "rediss://a#insecure",
            "must not end with #insecure: who a server is, is always looked at",
        ),
        ("http://a", "must begin with redis:// or rediss://"),
        ("cache:6379", "must be redis://HOST:PORT"),
        ("redis://", "is not redis://HOST:PORT/DATABASE"),
        ("redis://a/x", "is not redis://HOST:PORT/DATABASE"),
        ("unix:///run/redis", "must begin with redis:// or rediss://"),
    ] {
        let config = format!("[key_value_store.a]\ntype = \"redis\"\nurl = \"{url}\"");
        let config = RuntimeConfig::parse(&config).expect("a configuration");
        let error = Stores::new(&config, Trusts::default(), Path::new("/"), None)
            .expect_err(url)
            .to_string();
        assert_eq!(
            error,
            format!("/runtime-config.toml: key_value_store.a.url: {reason}")
        );
    }
}

#[test]
fn passwords_are_not_shown() {
    let config = "[key_value_store.a]\ntype = \"redis\"\nurl = \"redis://:secret@a\"";
    assert!(!format!("{:?}", stores(config, Path::new("/"))).contains("secret"));
}
