//! What stands before a filter that forbids by default: syscalls newer than all that the profile names get
//! `ENOSYS`, so that a C library falls back to older ones, where the default would give `EPERM` or kill.
//!
//! A profile cannot name calls that did not exist when it was written; runc does the same, and engines'
//! profiles count on it. "Newer" is: a number above the highest that the profile names, by architecture.

use crate::sys::seccomp::INSTRUCTION_SIZE;

/// x32 calls have x86-64's architecture and this bit in their number (__X32_SYSCALL_BIT).
const X32_BIT: u32 = 0x4000_0000;

/// Offsets in `struct seccomp_data` (seccomp(2)).
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;

/// SECCOMP_RET_ERRNO with ENOSYS.
const RETURN_ENOSYS: u32 = 0x0005_0000 | libc::ENOSYS as u32;

/// `struct sock_filter` of <linux/filter.h>.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Instruction {
    code: u16,
    /// How many instructions to skip where the condition holds, and where it does not.
    if_true: u8,
    if_false: u8,
    operand: u32,
}

/// Instruction codes of classic BPF (<linux/bpf_common.h>).
const LOAD: u16 = 0x20;
const JUMP: u16 = 0x05;
const IF_EQUAL: u16 = 0x15;
const IF_GREATER: u16 = 0x25;
const IF_BITS: u16 = 0x45;
const RETURN: u16 = 0x06;

/// The highest numbers that a profile names under one AUDIT_ARCH_*.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Highest {
    pub audit: u32,
    /// Of the architecture's own calls; `None` where the profile names none.
    pub native: Option<u32>,
    /// Of x32's calls, [`X32_BIT`] included.
    pub x32: Option<u32>,
    /// Whether numbers may carry [`X32_BIT`]: on x86-64.
    pub may_be_x32: bool,
    /// s390 passes numbers that do not fit its instruction as 0, also those that the kernel does not know.
    pub zero_is_unknown: bool,
}

/// The instructions to be put before a filter. Architectures are compared in the order given: the machine's
/// own first is fastest.
pub(super) fn stub(highest: &[Highest]) -> Vec<u8> {
    let blocks: Vec<Vec<Instruction>> = highest.iter().filter_map(block).collect();
    if blocks.is_empty() {
        return Vec::new();
    }
    let mut program = vec![instruction(LOAD, ARCHITECTURE, 0, 0)];
    let mut left: usize = blocks.iter().map(Vec::len).sum();
    for mut block in blocks {
        left -= block.len();
        // The last but one goes on to the filter: over its own return and all blocks that follow.
        let goes_on = block.len() - 2;
        block[goes_on].operand = 1 + left as u32;
        program.append(&mut block);
    }
    let mut bytes = Vec::with_capacity(program.len() * INSTRUCTION_SIZE);
    for Instruction {
        code,
        if_true,
        if_false,
        operand,
    } in program
    {
        bytes.extend_from_slice(&code.to_ne_bytes());
        bytes.extend_from_slice(&[if_true, if_false]);
        bytes.extend_from_slice(&operand.to_ne_bytes());
    }
    bytes
}

/// The block of one architecture: skipped as a whole by others, so the accumulator still holds the
/// architecture for the next. It ends with a jump to the filter, whose distance is not known yet, and a return.
fn block(highest: &Highest) -> Option<Vec<Instruction>> {
    // Each check is made of instructions that fall through to the jump; `to_return` of them is patched below.
    let mut checks: Vec<Instruction> = Vec::with_capacity(4);
    let mut returns = Vec::with_capacity(3);
    let check = |checks: &mut Vec<Instruction>, returns: &mut Vec<usize>, instruction| {
        returns.push(checks.len());
        checks.push(instruction);
    };
    if highest.native.is_none() && highest.x32.is_none() {
        return None;
    }
    if highest.zero_is_unknown {
        check(&mut checks, &mut returns, instruction(IF_EQUAL, 0, 0, 0));
    }
    if highest.may_be_x32 {
        // With the bit: over the native check, to x32's or, without one, to the jump.
        checks.push(instruction(
            IF_BITS,
            X32_BIT,
            u8::from(highest.native.is_some()),
            0,
        ));
    }
    if let Some(number) = highest.native {
        check(&mut checks, &mut returns, instruction(IF_GREATER, number, 0, 0));
    }
    if let Some(number) = highest.x32 {
        // A native number has not the bit, so it is below and falls through here.
        check(&mut checks, &mut returns, instruction(IF_GREATER, number, 0, 0));
    }
    let length = checks.len();
    for at in returns {
        // From the instruction after this one, over the other checks and the jump, to the return.
        checks[at].if_true = (length - at) as u8;
    }
    let mut block = vec![
        instruction(IF_EQUAL, highest.audit, 0, length as u8 + 3),
        instruction(LOAD, NUMBER, 0, 0),
    ];
    block.append(&mut checks);
    block.push(instruction(JUMP, 0, 0, 0));
    block.push(instruction(RETURN, RETURN_ENOSYS, 0, 0));
    Some(block)
}

const fn instruction(code: u16, operand: u32, if_true: u8, if_false: u8) -> Instruction {
    Instruction {
        code,
        if_true,
        if_false,
        operand,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::seccomp_names::AUDIT_X86_64;
    use super::*;

    /// What a filter answers; `None` where it runs off its end, which here is where the real one begins.
    pub fn interpret(program: &[u8], audit: u32, number: u32) -> Option<u32> {
        let code: Vec<Instruction> = program
            .as_chunks::<8>()
            .0
            .iter()
            .map(|c| Instruction {
                code: u16::from_ne_bytes([c[0], c[1]]),
                if_true: c[2],
                if_false: c[3],
                operand: u32::from_ne_bytes([c[4], c[5], c[6], c[7]]),
            })
            .collect();
        let (mut at, mut value) = (0, 0);
        while at < code.len() {
            let one = code[at];
            let jump = |condition: bool| usize::from(if condition { one.if_true } else { one.if_false });
            at += 1;
            match one.code {
                LOAD => value = if one.operand == NUMBER { number } else { audit },
                JUMP => at += one.operand as usize,
                IF_EQUAL => at += jump(value == one.operand),
                IF_GREATER => at += jump(value > one.operand),
                IF_BITS => at += jump(value & one.operand != 0),
                RETURN => return Some(one.operand),
                other => panic!("code {other:#x}"),
            }
        }
        assert_eq!(at, code.len(), "jumps beyond the end");
        None
    }

    const ENOSYS: Option<u32> = Some(RETURN_ENOSYS);
    const I386: u32 = 0x4000_0003;
    const S390X: u32 = 0x8000_0016;

    fn highest(audit: u32, native: Option<u32>, x32: Option<u32>) -> Highest {
        Highest {
            audit,
            native,
            x32,
            may_be_x32: audit == AUDIT_X86_64,
            zero_is_unknown: audit == S390X,
        }
    }

    #[test]
    fn newer_numbers_get_enosys_and_older_ones_the_filter() {
        let program = stub(&[
            highest(AUDIT_X86_64, Some(300), Some(X32_BIT | 500)),
            highest(I386, Some(350), None),
            highest(S390X, Some(400), None),
        ]);
        for (audit, number, answer) in [
            (AUDIT_X86_64, 0, None),
            (AUDIT_X86_64, 300, None),
            (AUDIT_X86_64, 301, ENOSYS),
            (AUDIT_X86_64, X32_BIT, None),
            (AUDIT_X86_64, X32_BIT | 500, None),
            (AUDIT_X86_64, X32_BIT | 501, ENOSYS),
            (I386, 350, None),
            (I386, 351, ENOSYS),
            (S390X, 0, ENOSYS),
            (S390X, 400, None),
            (S390X, 401, ENOSYS),
            (0x4000_0028, 9999, None),
        ] {
            assert_eq!(interpret(&program, audit, number), answer, "{audit:#x} {number}");
        }
    }

    #[test]
    fn x32_numbers_are_left_to_the_filter_where_the_profile_has_no_x32() {
        let program = stub(&[highest(AUDIT_X86_64, Some(300), None)]);
        assert_eq!(interpret(&program, AUDIT_X86_64, 301), ENOSYS);
        assert_eq!(interpret(&program, AUDIT_X86_64, X32_BIT | 999), None);
        let program = stub(&[highest(AUDIT_X86_64, None, Some(X32_BIT | 5))]);
        assert_eq!(interpret(&program, AUDIT_X86_64, 301), None);
        assert_eq!(interpret(&program, AUDIT_X86_64, X32_BIT | 6), ENOSYS);
    }

    #[test]
    fn a_profile_without_known_calls_gets_no_stub() {
        assert!(stub(&[]).is_empty());
        assert!(stub(&[highest(I386, None, None)]).is_empty());
    }
}
