//! Where a component may connect to: the entries of `allowed_outbound_hosts`, and of the old
//! `allowed_http_hosts`. Pure: what a name resolves to is none of its business, and templates are resolved before.
//!
//! An entry is `scheme://host:port`, each of which may be `*`. A host may also be `*.domain`, a network
//! (`10.0.0.0/8`), or `self`, the application itself; a port may be a range without its end (`8000..9000`), and
//! may be missing where the scheme has one of its own. Nothing is allowed that no entry allows.

use std::fmt;
use std::net::IpAddr;
use std::ops::Range;

/// Below it each component has its name, by which those of the same application reach it.
pub const INTERNAL: &str = "spin.internal";

/// What the only entry of `allowed_http_hosts` may be to allow every host.
const ALLOW_ALL: &str = "insecure:allow-all";

/// The schemes of databases, which a component of the first manifest version may connect to anywhere, unless it
/// says otherwise.
const DATABASES: [&str; 3] = ["redis", "mysql", "postgres"];

/// What is allowed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowedHosts {
    entries: Vec<Entry>,
}

/// An entry that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{entry}` {reason}")]
pub struct AllowedHostError {
    pub entry: String,
    pub reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    /// `None` is any.
    scheme: Option<String>,
    host: AllowedHost,
    /// `None` is any.
    ports: Option<Range<u32>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum AllowedHost {
    Any,
    /// The application itself.
    Own,
    Exactly(Host),
    /// Any name that ends with it; it starts with a dot.
    Below(String),
    Network(IpAddr, u8),
}

/// A host as a URL names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// In lower case.
    Name(String),
    Address(IpAddr),
}

impl AllowedHosts {
    /// The entries of `allowed_outbound_hosts`. Those that a template left empty are nothing.
    pub fn parse<S: AsRef<str>>(entries: &[S]) -> Result<Self, AllowedHostError> {
        let written = entries.iter().map(AsRef::as_ref).map(str::trim);
        let written = written.filter(|entry| !["", "http://", "https://"].contains(entry));
        let entries = written.map(Entry::parse).collect::<Result<_, _>>()?;
        Ok(Self { entries })
    }

    /// The entries of `allowed_http_hosts`: hosts with or without a port. `databases` allows all of those as well,
    /// as for a component of the first manifest version without `allowed_outbound_hosts`.
    pub fn parse_old<S: AsRef<str>>(entries: &[S], databases: bool) -> Result<Self, AllowedHostError> {
        let mut allowed = Vec::new();
        if databases {
            allowed.extend(DATABASES.map(|scheme| format!("{scheme}://*:*")));
        }
        for entry in entries.iter().map(AsRef::as_ref) {
            match entry {
                ALLOW_ALL if entries.len() == 1 => {
                    allowed.extend(["http://*:*", "https://*:*", "http://self"].map(str::to_owned));
                }
                ALLOW_ALL => return Err(wrong(entry, "must be the only entry")),
                "self" => allowed.push("http://self".to_owned()),
                _ if entry.contains('*') => {
                    return Err(wrong(entry, "has a wildcard, which it cannot have here"));
                }
                _ => allowed.extend(old_entry(entry)?),
            }
        }
        Self::parse(&allowed)
    }

    /// What either allows.
    #[must_use]
    pub fn with(mut self, other: Self) -> Self {
        self.entries.extend(other.entries);
        self
    }

    /// Whether a connection to this host and port may be made for this scheme.
    pub fn allows(&self, scheme: &str, host: &str, port: u16) -> bool {
        let Some(host) = Host::parse(host) else {
            return false;
        };
        self.entries.iter().any(|entry| {
            entry.is_for(scheme)
                && entry.host.allows(&host)
                && entry
                    .ports
                    .as_ref()
                    .is_none_or(|ports| ports.contains(&u32::from(port)))
        })
    }

    /// Whether the application itself may be called, by a URL without a host.
    pub fn allows_self(&self) -> bool {
        self.entries.iter().any(|entry| {
            let own = matches!(entry.host, AllowedHost::Any | AllowedHost::Own);
            own && (entry.is_for("http") || entry.is_for("https"))
        })
    }

    /// Whether another component of the application may be called, as `http://ID.spin.internal`.
    pub fn allows_component(&self, id: &str) -> bool {
        self.allows("http", &format!("{id}.{INTERNAL}"), 80)
    }
}

fn wrong(entry: &str, reason: &'static str) -> AllowedHostError {
    AllowedHostError {
        entry: entry.to_owned(),
        reason,
    }
}

/// The port of a scheme where a URL names none.
pub fn usual_port(scheme: &str) -> Option<u16> {
    Some(match scheme {
        "http" => 80,
        "https" => 443,
        "redis" => 6379,
        "mysql" => 3306,
        "postgres" => 5432,
        "mqtt" => 1883,
        _ => return None,
    })
}

/// An entry of `allowed_http_hosts` as those of today that allow the same.
fn old_entry(entry: &str) -> Result<Vec<String>, AllowedHostError> {
    let (schemes, host) = match entry.split_once("://") {
        None => (vec!["http", "https"], entry),
        Some((scheme @ ("http" | "https"), host)) => (vec![scheme], host),
        Some(_) => return Err(wrong(entry, "has a scheme other than http and https")),
    };
    let host = host.strip_suffix('/').unwrap_or(host);
    Ok(schemes
        .into_iter()
        .map(|scheme| format!("{scheme}://{host}"))
        .collect())
}

impl Entry {
    fn parse(text: &str) -> Result<Self, AllowedHostError> {
        if text == ALLOW_ALL {
            return Err(wrong(text, "is of allowed_http_hosts; write `*://*:*`"));
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(wrong(text, "has no scheme, such as `https://` or `*://`"));
        };
        if scheme.is_empty() || (scheme != "*" && !scheme.chars().all(char::is_alphabetic)) {
            return Err(wrong(text, "has a scheme that is neither letters nor `*`"));
        }
        let (host, port) = split_port(rest);
        let port = port.map(|port| port.strip_suffix('/').unwrap_or(port));
        Ok(Self {
            scheme: (scheme != "*").then(|| scheme.to_owned()),
            host: AllowedHost::parse(host).map_err(|reason| wrong(text, reason))?,
            ports: ports(port, scheme).map_err(|reason| wrong(text, reason))?,
        })
    }

    fn is_for(&self, scheme: &str) -> bool {
        self.scheme.as_deref().is_none_or(|own| own == scheme)
    }
}

/// Host and port; the host of an IPv6 network, which has no brackets, is full of colons.
fn split_port(rest: &str) -> (&str, Option<&str>) {
    if network(rest).is_some() {
        return (rest, None);
    }
    match rest.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port).filter(|port| !port.is_empty())),
        _ => (rest, None),
    }
}

fn ports(port: Option<&str>, scheme: &str) -> Result<Option<Range<u32>>, &'static str> {
    let one = |port: u16| Some(u32::from(port)..u32::from(port) + 1);
    let number = |text: &str| {
        text.parse::<u16>()
            .map_err(|_| "has a port that is no number up to 65535")
    };
    match port {
        None => match usual_port(scheme) {
            Some(port) => Ok(one(port)),
            None => Err("has no port, and its scheme has no port of its own; `:*` allows every one"),
        },
        Some("*") => Ok(None),
        Some(text) if text.contains('/') => Err("has a path, and paths are not looked at"),
        Some(text) => match text.split_once("..") {
            None => number(text).map(one),
            Some((first, end)) => match (number(first)?, number(end)?) {
                (first, end) if first < end => Ok(Some(first.into()..end.into())),
                _ => Err("has an empty range of ports; the end is not among them"),
            },
        },
    }
}

/// `10.0.0.0/8`, with or without a host part.
fn network(text: &str) -> Option<(IpAddr, u8)> {
    let (address, bits) = text.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let bits: u8 = bits.parse().ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    (bits <= most).then_some((address, bits))
}

impl AllowedHost {
    fn parse(text: &str) -> Result<Self, &'static str> {
        match text {
            "*" => return Ok(Self::Any),
            "self" | "self.alt" => return Ok(Self::Own),
            _ => {}
        }
        if let Some((address, bits)) = network(text) {
            return Ok(Self::Network(address, bits));
        }
        let text = text.strip_suffix('/').unwrap_or(text);
        if text.contains('/') {
            return Err("has a path, and paths are not looked at");
        }
        if let Some(domain) = text.strip_prefix("*.") {
            return match Host::parse(domain) {
                Some(Host::Name(name)) => Ok(Self::Below(format!(".{name}"))),
                _ => Err("has a `*.` that no domain follows"),
            };
        }
        if text.contains('*') {
            return Err("has a wildcard within a name; it can only be all of it or its first label");
        }
        Host::parse(text)
            .map(Self::Exactly)
            .ok_or("has a host that is neither a name nor an address")
    }

    fn allows(&self, host: &Host) -> bool {
        match (self, host) {
            (Self::Any, _) => true,
            (Self::Own, _) => false,
            (Self::Exactly(own), host) => own == host,
            (Self::Below(suffix), Host::Name(name)) => name.ends_with(suffix.as_str()),
            (Self::Network(network, bits), Host::Address(address)) => within(*address, *network, *bits),
            (Self::Below(_), Host::Address(_)) | (Self::Network(..), Host::Name(_)) => false,
        }
    }
}

fn within(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    let same = |a: u128, b: u128, width: u32| {
        let shift = width - u32::from(bits);
        shift >= width || a >> shift == b >> shift
    };
    match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(b)) => same(a.to_bits().into(), b.to_bits().into(), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => same(a.to_bits(), b.to_bits(), 128),
        _ => false,
    }
}

impl Host {
    /// `None` for what is neither a name nor an address in its usual form: other forms of addresses (`127.1`,
    /// `0x7f000001`) would be taken for names here and for addresses by the C library.
    pub fn parse(text: &str) -> Option<Self> {
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
        if let Some(bare) = bare {
            return bare
                .parse()
                .ok()
                .map(|address| Self::address(IpAddr::V6(address)));
        }
        // Clients give IPv6 addresses without the brackets of their URL.
        if let Ok(address) = text.parse() {
            return Some(Self::address(address));
        }
        let name = text.to_ascii_lowercase();
        let label = |label: &str| {
            label.len() <= 63
                && label
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
        };
        let labels: Vec<&str> = name.strip_suffix('.').unwrap_or(&name).split('.').collect();
        let last = labels.last()?;
        let number = last.strip_prefix("0x").map_or(*last, |digits| digits);
        let numeric = number.chars().all(|c| c.is_ascii_digit())
            || (last.starts_with("0x") && number.chars().all(|c| c.is_ascii_hexdigit()));
        let good = labels.iter().all(|text| !text.is_empty() && label(text)) && !numeric && name.len() <= 253;
        good.then_some(Self::Name(name))
    }

    /// IPv4 within IPv6 is the same host.
    fn address(address: IpAddr) -> Self {
        Self::Address(address.to_canonical())
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
            Self::Address(address) => address.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests;
