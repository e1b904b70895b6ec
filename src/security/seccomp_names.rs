//! The names of seccomp's vocabulary in config.json, for checking them and for `features`; and what an
//! architecture's name stands for.

use libseccomp::ScmpArch;

pub use crate::spec::model::{ACTIONS, OPERATORS};

/// `linux.seccomp.flags` with the bit of seccomp(2) that each stands for, in the kernel's order.
pub const FLAGS: [(&str, u64); 4] = [
    ("SECCOMP_FILTER_FLAG_TSYNC", libc::SECCOMP_FILTER_FLAG_TSYNC),
    ("SECCOMP_FILTER_FLAG_LOG", libc::SECCOMP_FILTER_FLAG_LOG),
    (
        "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
        libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
    ),
    (
        "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
        libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
    ),
];

/// One architecture, in the terms of all who name it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Architecture {
    /// In config.json.
    pub name: &'static str,
    pub scmp: ScmpArch,
    /// AUDIT_ARCH_* of <linux/audit.h>, which a filter finds in `seccomp_data.arch`. x32 shares x86-64's.
    pub audit: u32,
}

/// __AUDIT_ARCH_64BIT, __AUDIT_ARCH_LE and __AUDIT_ARCH_CONVENTION_MIPS64_N32 of <linux/audit.h>.
const BITS64: u32 = 0x8000_0000;
const LE: u32 = 0x4000_0000;
const N32: u32 = 0x2000_0000;

impl Architecture {
    /// Whether a program of this architecture can call the kernel of such a machine.
    pub fn runs_here(&self) -> bool {
        /// The bits of `audit` that hold EM_*.
        const MACHINE: u32 = 0xffff;
        match self.audit & MACHINE {
            3 | 62 => cfg!(target_arch = "x86_64"),
            40 | 183 => cfg!(target_arch = "aarch64"),
            _ => {
                let known = cfg!(any(target_arch = "x86_64", target_arch = "aarch64"));
                !known && (self.audit & LE != 0) == cfg!(target_endian = "little")
            }
        }
    }
}

pub(super) const AUDIT_X86_64: u32 = 62 | BITS64 | LE;

/// Sorted by name. The number in `audit` is the machine's EM_* of <linux/elf-em.h>.
pub(super) const ARCHITECTURES: [Architecture; 23] = [
    arch("SCMP_ARCH_AARCH64", ScmpArch::Aarch64, 183 | BITS64 | LE),
    arch("SCMP_ARCH_ARM", ScmpArch::Arm, 40 | LE),
    arch("SCMP_ARCH_LOONGARCH64", ScmpArch::Loongarch64, 258 | BITS64 | LE),
    arch("SCMP_ARCH_M68K", ScmpArch::M68k, 4),
    arch("SCMP_ARCH_MIPS", ScmpArch::Mips, 8),
    arch("SCMP_ARCH_MIPS64", ScmpArch::Mips64, 8 | BITS64),
    arch("SCMP_ARCH_MIPS64N32", ScmpArch::Mips64N32, 8 | BITS64 | N32),
    arch("SCMP_ARCH_MIPSEL", ScmpArch::Mipsel, 8 | LE),
    arch("SCMP_ARCH_MIPSEL64", ScmpArch::Mipsel64, 8 | BITS64 | LE),
    arch(
        "SCMP_ARCH_MIPSEL64N32",
        ScmpArch::Mipsel64N32,
        8 | BITS64 | LE | N32,
    ),
    arch("SCMP_ARCH_PARISC", ScmpArch::Parisc, 15),
    arch("SCMP_ARCH_PARISC64", ScmpArch::Parisc64, 15 | BITS64),
    arch("SCMP_ARCH_PPC", ScmpArch::Ppc, 20),
    arch("SCMP_ARCH_PPC64", ScmpArch::Ppc64, 21 | BITS64),
    arch("SCMP_ARCH_PPC64LE", ScmpArch::Ppc64Le, 21 | BITS64 | LE),
    arch("SCMP_ARCH_RISCV64", ScmpArch::Riscv64, 243 | BITS64 | LE),
    arch("SCMP_ARCH_S390", ScmpArch::S390, 22),
    arch("SCMP_ARCH_S390X", ScmpArch::S390X, 22 | BITS64),
    arch("SCMP_ARCH_SH", ScmpArch::Sh, 42 | LE),
    arch("SCMP_ARCH_SHEB", ScmpArch::Sheb, 42),
    arch("SCMP_ARCH_X32", ScmpArch::X32, AUDIT_X86_64),
    arch("SCMP_ARCH_X86", ScmpArch::X86, 3 | LE),
    arch("SCMP_ARCH_X86_64", ScmpArch::X8664, AUDIT_X86_64),
];

const fn arch(name: &'static str, scmp: ScmpArch, audit: u32) -> Architecture {
    Architecture { name, scmp, audit }
}

/// `linux.seccomp.architectures`, sorted.
pub fn architectures() -> impl Iterator<Item = &'static str> {
    ARCHITECTURES.iter().map(|architecture| architecture.name)
}

/// The names of [`FLAGS`] that this kernel knows, in that order.
pub fn supported_flags() -> impl Iterator<Item = &'static str> {
    FLAGS
        .into_iter()
        .filter(|(_, flag)| super::seccomp::kernel_knows(*flag))
        .map(|(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_and_libseccomp_knows_each_architecture() {
        assert!(ACTIONS.is_sorted() && OPERATORS.is_sorted());
        assert!(architectures().is_sorted());
        for architecture in ARCHITECTURES {
            assert_eq!(architecture.name.parse::<ScmpArch>().unwrap(), architecture.scmp);
        }
    }

    #[test]
    fn audit_numbers_are_the_kernels() {
        // libseccomp's tokens are these numbers, except x32's.
        let of = |name: &str| ARCHITECTURES.iter().find(|a| a.name == name).unwrap().audit;
        assert_eq!(of("SCMP_ARCH_X86_64"), 0xc000_003e);
        assert_eq!(of("SCMP_ARCH_X86"), 0x4000_0003);
        assert_eq!(of("SCMP_ARCH_AARCH64"), 0xc000_00b7);
        assert_eq!(of("SCMP_ARCH_MIPSEL64N32"), 0xe000_0008);
        assert_eq!(of("SCMP_ARCH_S390X"), 0x8000_0016);
    }

    #[test]
    fn this_kernel_knows_the_older_flags() {
        let flags: Vec<_> = supported_flags().collect();
        assert!(flags.contains(&"SECCOMP_FILTER_FLAG_LOG"), "{flags:?}");
        assert!(flags.contains(&"SECCOMP_FILTER_FLAG_TSYNC"), "{flags:?}");
    }
}
