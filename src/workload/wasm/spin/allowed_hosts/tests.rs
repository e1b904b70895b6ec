//! What entries allow, and which are none.

use super::*;

fn allowed(entry: &str) -> AllowedHosts {
    AllowedHosts::parse(&[entry]).unwrap_or_else(|error| panic!("{error}"))
}

fn refused(entry: &str) -> &'static str {
    AllowedHosts::parse(&[entry]).expect_err(entry).reason
}

#[test]
fn nothing_is_allowed_that_no_entry_allows() {
    let none = AllowedHosts::default();
    assert!(!none.allows("http", "example.com", 80));
    assert!(!none.allows_self() && !none.allows_component("other"));
    assert_eq!(
        AllowedHosts::parse(&["", "http://", " "]).expect("left empty"),
        none
    );
}

#[test]
fn each_part_is_compared() {
    let one = allowed("https://example.com");
    assert!(one.allows("https", "example.com", 443) && one.allows("https", "EXAMPLE.com", 443));
    assert!(!one.allows("http", "example.com", 443) && !one.allows("https", "example.com", 80));
    assert!(!one.allows("https", "a.example.com", 443) && !one.allows("https", "example.com.evil", 443));
    let port = allowed("redis://cache:7000");
    assert!(port.allows("redis", "cache", 7000) && !port.allows("redis", "cache", 6379));
    assert!(allowed("http://example.com/").allows("http", "example.com", 80));
    assert!(allowed("http://example.com:8080/").allows("http", "example.com", 8080));
}

#[test]
fn wildcards_stand_for_what_they_say() {
    let all = allowed("*://*:*");
    for (scheme, host, port) in [
        ("http", "a.b", 1),
        ("redis", "10.0.0.1", 6379),
        ("x", "[::1]", 65535),
    ] {
        assert!(all.allows(scheme, host, port));
    }
    assert!(all.allows_self() && all.allows_component("other"));
    let below = allowed("https://*.example.com");
    assert!(below.allows("https", "a.example.com", 443) && below.allows("https", "a.b.example.com", 443));
    assert!(!below.allows("https", "example.com", 443) && !below.allows("https", "aexample.com", 443));
    let ports = allowed("http://localhost:*");
    assert!(ports.allows("http", "localhost", 1) && !ports.allows("https", "localhost", 1));
    assert!(allowed("*://db:5432").allows("postgres", "db", 5432));
}

#[test]
fn a_range_of_ports_is_without_its_end() {
    let range = allowed("http://localhost:8000..8002");
    let ports = [7999, 8000, 8001, 8002].map(|port| range.allows("http", "localhost", port));
    assert_eq!(ports, [false, true, true, false]);
    assert_eq!(
        refused("http://a:9..9"),
        "has an empty range of ports; the end is not among them"
    );
}

#[test]
fn networks_hold_addresses_and_no_names() {
    let net = allowed("redis://10.1.0.0/16:6379");
    assert!(net.allows("redis", "10.1.255.3", 6379) && !net.allows("redis", "10.2.0.1", 6379));
    assert!(!net.allows("redis", "name", 6379));
    assert!(net.allows("redis", "[::ffff:10.1.2.3]", 6379), "the same host");
    let six = allowed("http://fd00::/8:81");
    assert!(six.allows("http", "[fd12::1]", 81) && !six.allows("http", "[fe00::1]", 81));
    assert!(allowed("http://0.0.0.0/0").allows("http", "1.2.3.4", 80));
    assert!(allowed("http://[fd00::1]:80").allows("http", "[fd00:0::1]", 80));
    assert!(allowed("http://10.1.2.3").allows("http", "10.1.2.3", 80));
}

#[test]
fn an_ipv6_network_has_the_port_of_its_scheme() {
    let six = allowed("http://fd00::/8");
    assert!(six.allows("http", "[fd12::1]", 80) && !six.allows("http", "[fd12::1]", 81));
}

#[test]
fn addresses_in_disguise_are_no_hosts() {
    let all = allowed("*://*:*");
    for host in [
        "127.1",
        "0x7f000001",
        "2130706433",
        "0x7f.1",
        "1.2.3.4.",
        "",
        ".",
        "a..b",
        "a b",
        "a/b",
        "a@b",
    ] {
        assert!(!all.allows("http", host, 80), "{host}");
        assert!(
            AllowedHosts::parse(&[format!("http://{host}:80")]).is_err(),
            "{host}"
        );
    }
}

#[test]
fn the_application_itself_and_its_components() {
    let own = allowed("http://self");
    assert!(own.allows_self() && !own.allows_component("a") && !own.allows("http", "self", 80));
    assert!(!allowed("redis://self").allows_self());
    assert!(!allowed("http://example.com").allows_self());
    let one = allowed("http://a.spin.internal");
    assert!(one.allows_component("a") && one.allows_component("A") && !one.allows_component("b"));
    let all = allowed("http://*.spin.internal");
    assert!(all.allows_component("a") && all.allows_component("b") && !all.allows_self());
    assert!(!allowed("https://*.spin.internal").allows_component("a"));
}

#[test]
fn what_is_no_entry_is_refused_by_name() {
    for (entry, reason) in [
        ("example.com", "has no scheme, such as `https://` or `*://`"),
        ("*", "has no scheme, such as `https://` or `*://`"),
        ("://a", "has a scheme that is neither letters nor `*`"),
        ("h2c://a:1", "has a scheme that is neither letters nor `*`"),
        ("{http,https}://a", "has a scheme that is neither letters nor `*`"),
        (
            "ftp://a",
            "has no port, and its scheme has no port of its own; `:*` allows every one",
        ),
        (
            "*://a",
            "has no port, and its scheme has no port of its own; `:*` allows every one",
        ),
        ("http://a/b", "has a path, and paths are not looked at"),
        ("http://a:80/b", "has a path, and paths are not looked at"),
        ("http://a:b", "has a port that is no number up to 65535"),
        ("http://a:65536", "has a port that is no number up to 65535"),
        ("http://a:{1,2}", "has a port that is no number up to 65535"),
        (
            "http://a*.com",
            "has a wildcard within a name; it can only be all of it or its first label",
        ),
        ("http://*.1.2.3.4", "has a `*.` that no domain follows"),
        ("insecure:allow-all", "is of allowed_http_hosts; write `*://*:*`"),
    ] {
        assert_eq!(refused(entry), reason, "{entry}");
    }
    assert_eq!(
        refused("http://:80"),
        "has a host that is neither a name nor an address"
    );
    let error = AllowedHosts::parse(&["http://ok", "bad"]).expect_err("the second");
    assert_eq!(
        error.to_string(),
        "`bad` has no scheme, such as `https://` or `*://`"
    );
}

#[test]
fn old_entries_are_for_http_and_https() {
    let old = AllowedHosts::parse_old(
        &["example.com", "other.com:8080", "https://only.com", "self"],
        false,
    )
    .expect("old entries");
    assert!(old.allows("http", "example.com", 80) && old.allows("https", "example.com", 443));
    assert!(old.allows("http", "other.com", 8080) && !old.allows("http", "other.com", 80));
    assert!(old.allows("https", "only.com", 443) && !old.allows("http", "only.com", 80));
    assert!(old.allows_self() && !old.allows("redis", "example.com", 6379));
    let all = AllowedHosts::parse_old(&["insecure:allow-all"], true).expect("all");
    assert!(all.allows("http", "x.y", 9) && all.allows_self() && all.allows("postgres", "db", 5));
    assert!(!all.allows("mqtt", "x", 1883));
    for wrong in [
        &["insecure:allow-all", "a"][..],
        &["*.a.com"],
        &["ftp://a"],
        &["a/b"],
    ] {
        AllowedHosts::parse_old(wrong, false).expect_err(wrong[0]);
    }
}

#[test]
fn both_kinds_of_entries_add_up() {
    let both = allowed("redis://a").with(AllowedHosts::parse_old(&["b"], false).expect("old"));
    assert!(both.allows("redis", "a", 6379) && both.allows("http", "b", 80));
}
