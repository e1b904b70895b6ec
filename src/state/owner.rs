//! The name of the user who owns a container, for `list`. Reads /etc/passwd itself, since a static executable
//! must not load name service modules; users that only such a module knows appear by number, as `#UID`.

use std::fs;

/// The login name of `uid`, or `#UID` where /etc/passwd has none.
pub fn owner_name(uid: u32) -> String {
    // A host without the file, or with one that cannot be read, has no names to give: the number is right.
    let passwd = fs::read("/etc/passwd").unwrap_or_default();
    find(&String::from_utf8_lossy(&passwd), uid).unwrap_or_else(|| format!("#{uid}"))
}

fn find(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_first_name_of_a_uid() {
        let passwd = "# note\nroot:x:0:0:root:/root:/bin/sh\ntoor:x:0:0::/:\nweb:x:33:33::/:/bin/sh\n+\n";
        assert_eq!(find(passwd, 0).as_deref(), Some("root"));
        assert_eq!(find(passwd, 33).as_deref(), Some("web"));
        assert_eq!(find(passwd, 34), None);
        assert_eq!(find("", 0), None);
    }
}
