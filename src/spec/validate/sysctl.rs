//! Sysctls: only those that belong to a namespace of the container may be set, since all others are the
//! host's. Also the one place that knows how a sysctl is spelled.

use super::{Check, Problem};
use crate::spec::model::{Config, NamespaceKind};

pub(super) const CHECKS: &[Check<Config>] = &[namespaced];

/// The sysctls of the ipc namespace below `kernel` (ipc_namespaces(7)).
const IPC: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shm_rmid_forced",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
];

/// The namespace that holds a sysctl given in dotted form.
fn namespace_of(key: &str) -> Option<NamespaceKind> {
    match key {
        _ if IPC.contains(&key) || key.starts_with("fs.mqueue.") => Some(NamespaceKind::Ipc),
        _ if key.starts_with("net.") => Some(NamespaceKind::Network),
        "kernel.domainname" => Some(NamespaceKind::Uts),
        _ if key.starts_with("user.") => Some(NamespaceKind::User),
        _ => None,
    }
}

fn namespaced(config: &Config, _: &mut Vec<String>) -> Result<(), Problem> {
    for key in config.linux.sysctl.keys() {
        let field = format!("linux.sysctl.{key}");
        let dotted = dotted(key);
        // In dotted form a `/` stands for a dot of a file's name, so that `net.//.kernel` would climb.
        if dotted
            .split('.')
            .any(|part| part.is_empty() || part == "/" || part == "//")
        {
            return Err(Problem::new(field, "is not the name of a sysctl"));
        }
        if dotted == "kernel.hostname" {
            return Err(Problem::new(field, "is set by the property hostname"));
        }
        let Some(kind) = namespace_of(&dotted) else {
            return Err(Problem::new(field, "is not namespaced: it would change the host"));
        };
        if config.linux.namespace(kind).is_none() {
            let name = super::namespaces::name(kind);
            return Err(Problem::new(
                field,
                format!("needs a {name} namespace of the container's own"),
            ));
        }
    }
    Ok(())
}

/// The dotted form of a sysctl's name: the first separator says which form it is in, and in the other form
/// the two are swapped (sysctl.d(5)): `net/ipv4/conf/eth0.1/mtu` is `net.ipv4.conf.eth0/1.mtu`.
pub(crate) fn dotted(key: &str) -> String {
    match key.find(['.', '/']) {
        Some(first) if key[first..].starts_with('/') => key
            .chars()
            .map(|letter| match letter {
                '/' => '.',
                '.' => '/',
                other => other,
            })
            .collect(),
        _ => key.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_have_one_dotted_form() {
        assert_eq!(dotted("net.ipv4.ip_forward"), "net.ipv4.ip_forward");
        assert_eq!(dotted("net/ipv4/ip_forward"), "net.ipv4.ip_forward");
        assert_eq!(dotted("net/ipv4/conf/eth0.1/mtu"), "net.ipv4.conf.eth0/1.mtu");
        assert_eq!(dotted("net.ipv4.conf.eth0/1.mtu"), "net.ipv4.conf.eth0/1.mtu");
    }

    #[test]
    fn only_namespaced_sysctls_have_a_namespace() {
        assert_eq!(namespace_of("kernel.shmmax"), Some(NamespaceKind::Ipc));
        assert_eq!(namespace_of("fs.mqueue.msg_max"), Some(NamespaceKind::Ipc));
        assert_eq!(namespace_of("net.core.somaxconn"), Some(NamespaceKind::Network));
        assert_eq!(
            namespace_of("user.max_user_namespaces"),
            Some(NamespaceKind::User)
        );
        assert_eq!(namespace_of("kernel.core_pattern"), None);
        assert_eq!(namespace_of("vm.swappiness"), None);
        assert_eq!(namespace_of("netx.core"), None);
    }
}
