//! Ranges of ids in a mount option, `idmap=uids=0-1-10#10-11-10;gids=@0-100-10`: crun's, which Podman passes on. Each
//! range is the first id of the file system, that of the host which it becomes, and how many there are. With `@` the
//! second is an id of the container, as its user namespace maps it.

use super::model::{IdMapping, Linux};

/// The maps of the user ids and of the group ids.
pub type Maps = (Vec<IdMapping>, Vec<IdMapping>);

/// Reads what follows `idmap=`.
///
/// # Errors
/// What is wrong with it.
pub fn parse(text: &str, linux: &Linux) -> Result<Maps, String> {
    let (mut uids, mut gids) = (Vec::new(), Vec::new());
    for part in text.split(';').filter(|part| !part.is_empty()) {
        let (maps, ranges, container) = match part.split_once('=') {
            Some(("uids", ranges)) => (&mut uids, ranges, &linux.uid_mappings),
            Some(("gids", ranges)) => (&mut gids, ranges, &linux.gid_mappings),
            _ => return Err(format!("has {part:?}, where uids= or gids= is expected")),
        };
        for range in ranges.split('#') {
            maps.push(read_range(range, container.as_deref().unwrap_or_default())?);
        }
    }
    for (name, maps) in [("uids", &uids), ("gids", &gids)] {
        if maps.is_empty() {
            return Err(format!("has no {name}="));
        }
    }
    Ok((uids, gids))
}

fn read_range(text: &str, container: &[IdMapping]) -> Result<IdMapping, String> {
    let wrong = || format!("has the range {text:?}, which is not of the form 0-1000-10 or @0-1000-10");
    let (plain, relative) = match text.strip_prefix('@') {
        Some(plain) => (plain, true),
        None => (text, false),
    };
    let numbers: Vec<u32> = plain
        .split('-')
        .map(|number| number.parse().map_err(|_| wrong()))
        .collect::<Result<_, _>>()?;
    let [first, host, size] = numbers[..] else {
        return Err(wrong());
    };
    let host = if relative {
        on_the_host(host, size, container).ok_or_else(|| {
            format!("has the range {text:?}, which no one range of the container's user namespace covers")
        })?
    } else {
        host
    };
    Ok(IdMapping {
        container: first,
        host,
        size,
    })
}

/// The host's id for the first of `size` ids of the container that one line of its maps covers.
fn on_the_host(id: u32, size: u32, maps: &[IdMapping]) -> Option<u32> {
    let end = u64::from(id) + u64::from(size);
    let line = maps
        .iter()
        .find(|line| id >= line.container && end <= u64::from(line.container) + u64::from(line.size))?;
    line.host.checked_add(id - line.container)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(container: u32, host: u32, size: u32) -> IdMapping {
        IdMapping {
            container,
            host,
            size,
        }
    }

    fn linux() -> Linux {
        Linux {
            uid_mappings: Some(vec![map(0, 0, 1), map(1, 2, 1000)]),
            gid_mappings: Some(vec![map(0, 5000, 1000)]),
            ..Linux::default()
        }
    }

    #[test]
    fn absolute_and_relative_ranges() {
        let (uids, gids) = parse("uids=0-1-10#10-11-10;gids=@0-100-10", &linux()).expect("ranges");
        assert_eq!(uids, [map(0, 1, 10), map(10, 11, 10)]);
        assert_eq!(gids, [map(0, 5100, 10)]);
        let (uids, _) = parse("uids=@1-3-10;gids=0-0-1", &linux()).expect("ranges");
        assert_eq!(uids, [map(1, 4, 10)]);
    }

    #[test]
    fn what_is_no_range_is_named() {
        for (text, culprit) in [
            ("", "uids="),
            ("uids=0-0-1", "gids="),
            ("uids=0-0-1;gid=0-0-1", "gid=0-0-1"),
            ("uids=0-0;gids=0-0-1", "0-0"),
            ("uids=0-0-1#;gids=0-0-1", "\"\""),
            ("uids=0-x-1;gids=0-0-1", "0-x-1"),
            ("uids=-1-0-1;gids=0-0-1", "-1-0-1"),
            ("uids=@0-0-2;gids=0-0-1", "@0-0-2"),
            ("uids=@0-4294967295-2;gids=0-0-1", "@0-4294967295-2"),
        ] {
            let error = parse(text, &linux()).expect_err(text);
            assert!(error.contains(culprit), "{text}: {error}");
        }
    }
}
