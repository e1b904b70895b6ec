//! `linux.seccomp` (config-linux.md, "Seccomp").

use std::path::PathBuf;

use serde::de::{Deserialize, Deserializer, Error as _, IntoDeserializer};

use super::null_as_default;

#[derive(Debug, Clone, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Seccomp {
    #[serde(default, deserialize_with = "empty_as_none")]
    pub default_action: Option<SeccompAction>,
    pub default_errno_ret: Option<u32>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub architectures: Vec<Architecture>,
    /// A missing list is another thing than an empty one: the plan of the filter knows.
    pub flags: Option<Vec<SeccompFlag>>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub listener_path: PathBuf,
    #[serde(default, deserialize_with = "null_as_default")]
    pub listener_metadata: String,
    #[serde(default, deserialize_with = "null_as_default")]
    pub syscalls: Vec<SyscallRule>,
}

/// Go's writers leave an empty string where there is no action.
fn empty_as_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SeccompAction>, D::Error> {
    match Option::<String>::deserialize(deserializer)? {
        None => Ok(None),
        Some(name) if name.is_empty() => Ok(None),
        Some(name) => SeccompAction::deserialize(name.into_deserializer()).map(Some),
    }
}

impl Seccomp {
    /// No action and no rule means that there is no filter, as runc reads it.
    pub fn is_off(&self) -> bool {
        self.default_action.is_none() && self.syscalls.is_empty()
    }

    /// Whether any syscall is handed to a listener.
    pub fn notifies(&self) -> bool {
        self.syscalls
            .iter()
            .any(|rule| rule.action == SeccompAction::Notify)
    }
}

#[derive(Debug, Clone, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SyscallRule {
    #[serde(default, deserialize_with = "null_as_default")]
    pub names: Vec<String>,
    pub action: SeccompAction,
    pub errno_ret: Option<u32>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub args: Vec<SeccompArgument>,
}

#[derive(Debug, Clone, Copy, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SeccompArgument {
    pub index: u32,
    pub value: u64,
    #[serde(default, deserialize_with = "null_as_default")]
    pub value_two: u64,
    pub op: SeccompOperator,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
pub enum SeccompAction {
    #[serde(rename = "SCMP_ACT_ALLOW")]
    Allow,
    #[serde(rename = "SCMP_ACT_KILL_THREAD", alias = "SCMP_ACT_KILL")]
    KillThread,
    #[serde(rename = "SCMP_ACT_KILL_PROCESS")]
    KillProcess,
    #[serde(rename = "SCMP_ACT_TRAP")]
    Trap,
    #[serde(rename = "SCMP_ACT_ERRNO")]
    Errno,
    #[serde(rename = "SCMP_ACT_TRACE")]
    Trace,
    #[serde(rename = "SCMP_ACT_LOG")]
    Log,
    #[serde(rename = "SCMP_ACT_NOTIFY")]
    Notify,
}

impl SeccompAction {
    /// Whether the action takes a number (`errnoRet`).
    pub fn takes_number(self) -> bool {
        matches!(self, Self::Errno | Self::Trace)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
pub enum SeccompOperator {
    #[serde(rename = "SCMP_CMP_NE")]
    NotEqual,
    #[serde(rename = "SCMP_CMP_LT")]
    LessThan,
    #[serde(rename = "SCMP_CMP_LE")]
    LessOrEqual,
    #[serde(rename = "SCMP_CMP_EQ")]
    Equal,
    #[serde(rename = "SCMP_CMP_GE")]
    GreaterOrEqual,
    #[serde(rename = "SCMP_CMP_GT")]
    GreaterThan,
    #[serde(rename = "SCMP_CMP_MASKED_EQ")]
    MaskedEqual,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
pub enum SeccompFlag {
    #[serde(rename = "SECCOMP_FILTER_FLAG_TSYNC")]
    Tsync,
    #[serde(rename = "SECCOMP_FILTER_FLAG_LOG")]
    Log,
    #[serde(rename = "SECCOMP_FILTER_FLAG_SPEC_ALLOW")]
    SpecAllow,
    #[serde(rename = "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV")]
    WaitKillable,
}

/// An architecture, by its name in config.json.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Architecture(pub &'static str);

/// The actions by name, for `features`; `SCMP_ACT_KILL` is another name for killing the thread.
pub const ACTIONS: [&str; 9] = [
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_LOG",
    "SCMP_ACT_NOTIFY",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_TRAP",
];

/// The operators by name, for `features`.
pub const OPERATORS: [&str; 7] = [
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_LE",
    "SCMP_CMP_LT",
    "SCMP_CMP_MASKED_EQ",
    "SCMP_CMP_NE",
];

/// The architectures of the runtime spec 1.3.
pub const ARCHITECTURES: [&str; 23] = [
    "SCMP_ARCH_AARCH64",
    "SCMP_ARCH_ARM",
    "SCMP_ARCH_LOONGARCH64",
    "SCMP_ARCH_M68K",
    "SCMP_ARCH_MIPS",
    "SCMP_ARCH_MIPS64",
    "SCMP_ARCH_MIPS64N32",
    "SCMP_ARCH_MIPSEL",
    "SCMP_ARCH_MIPSEL64",
    "SCMP_ARCH_MIPSEL64N32",
    "SCMP_ARCH_PARISC",
    "SCMP_ARCH_PARISC64",
    "SCMP_ARCH_PPC",
    "SCMP_ARCH_PPC64",
    "SCMP_ARCH_PPC64LE",
    "SCMP_ARCH_RISCV64",
    "SCMP_ARCH_S390",
    "SCMP_ARCH_S390X",
    "SCMP_ARCH_SH",
    "SCMP_ARCH_SHEB",
    "SCMP_ARCH_X32",
    "SCMP_ARCH_X86",
    "SCMP_ARCH_X86_64",
];

impl<'de> Deserialize<'de> for Architecture {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let given = String::deserialize(deserializer)?;
        ARCHITECTURES
            .iter()
            .find(|known| **known == given)
            .map(|known| Self(known))
            .ok_or_else(|| D::Error::custom(format_args!("unknown architecture `{given}`")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parses<T: for<'de> Deserialize<'de>>(name: &&str) -> bool {
        T::deserialize(serde_json::Value::from(*name)).is_ok()
    }

    #[test]
    fn advertised_names_are_parsed() {
        assert!(ACTIONS.iter().all(parses::<SeccompAction>));
        assert!(OPERATORS.iter().all(parses::<SeccompOperator>));
        const FLAGS: [&str; 4] = [
            "SECCOMP_FILTER_FLAG_LOG",
            "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
            "SECCOMP_FILTER_FLAG_TSYNC",
            "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
        ];
        assert!(FLAGS.iter().all(parses::<SeccompFlag>));
        assert!(ARCHITECTURES.iter().all(parses::<Architecture>));
        assert!(!parses::<SeccompAction>(&"SCMP_ACT_"));
    }
}
