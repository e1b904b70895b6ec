//! Programs before and after, run by the interpreter of the filters' own tests.

use super::super::seccomp::tests::answer;
use super::*;

const NATIVE: u32 = 0xc000_003e;
const I386: u32 = 0x4000_0003;

fn instruction(code: u16, operand: u32, if_true: u8, if_false: u8) -> Instruction {
    Instruction {
        code,
        if_true,
        if_false,
        operand,
    }
}

/// Allows the numbers of a list on one architecture, one by one; of one number an argument must be 8. Another
/// architecture has but one call, and of x32's numbers one.
fn one_by_one(allowed: &[u32]) -> Vec<u8> {
    let mut program = vec![
        instruction(LOAD, ARCHITECTURE, 0, 0),
        instruction(IF_EQUAL, I386, 0, 4),
        instruction(LOAD, NUMBER, 0, 0),
        instruction(IF_EQUAL, 11, 0, 1),
        instruction(RETURN, 7, 0, 0),
        instruction(RETURN, 8, 0, 0),
        instruction(IF_EQUAL, NATIVE, 1, 0),
        instruction(RETURN, 9, 0, 0),
        instruction(LOAD, NUMBER, 0, 0),
        instruction(IF_BITS, 1 << 30, 0, 3),
        instruction(IF_EQUAL, 1 << 30 | 5, 1, 0),
        instruction(RETURN, 6, 0, 0),
        instruction(RETURN, 5, 0, 0),
        instruction(IF_EQUAL, 135, 0, 4),
        instruction(LOAD, 16, 0, 0),
        instruction(IF_EQUAL, 8, 0, 1),
        instruction(RETURN, 1, 0, 0),
        instruction(RETURN, 2, 0, 0),
    ];
    for number in allowed {
        program.push(instruction(IF_EQUAL, *number, 0, 1));
        program.push(instruction(RETURN, 1, 0, 0));
    }
    program.push(instruction(IF_GREATER, 400, 0, 1));
    program.push(instruction(RETURN, 3, 0, 0));
    program.push(instruction(RETURN, 4, 0, 0));
    bytes(&program)
}

fn assert_same(old: &[u8], new: &[u8]) {
    let near = |number: u32| number.saturating_sub(2)..=number.saturating_add(600);
    let numbers = [0, 1 << 30, 1 << 31, 3 << 30, u32::MAX].map(near);
    for number in numbers.into_iter().flatten() {
        for architecture in [NATIVE, I386, 0, u32::MAX] {
            for argument in [0, 8, 9, 0x10_0000_0008, u64::MAX] {
                for arguments in [[argument, 0], [0, argument]] {
                    assert_eq!(
                        answer(new, architecture, number, arguments),
                        answer(old, architecture, number, arguments),
                        "call {number:#x} of {architecture:#x} with {arguments:x?}"
                    );
                }
            }
        }
    }
}

#[test]
fn the_answers_are_the_same() {
    // Runs of four numbers, each two ranges: up to more of them than are searched in one group.
    let runs = [10, GROUP / 2 - 4, GROUP / 2 - 3, GROUP / 2 - 2, GROUP, 2 * GROUP];
    let runs = runs.map(|runs| (0..).filter(|number| number % 5 != 4).take(4 * runs).collect());
    let mixed = (0..100).chain(120..130).chain([200, 399, 400, 401]).collect();
    for allowed in runs.into_iter().chain([mixed]) {
        let allowed: Vec<u32> = allowed;
        let old = one_by_one(&allowed);
        let new = shorten(&old).expect("it has a shorter one");
        assert_same(&old, &new);
    }
}

#[test]
fn numbers_beside_each_other_are_one_range() {
    let new = shorten(&one_by_one(&(0..400).collect::<Vec<_>>())).expect("it has a shorter one");
    assert!(
        new.len() / INSTRUCTION_SIZE < 40,
        "{}",
        new.len() / INSTRUCTION_SIZE
    );
}

#[test]
fn what_is_not_understood_stays_as_it_is() {
    let long = one_by_one(&(0..400).collect::<Vec<_>>());
    assert!(shorten(&long).is_some());
    let mut odd = parse(&long).expect("whole instructions");
    // BPF_ALU | BPF_AND on the number.
    odd.insert(9, instruction(0x54, 0xff, 0, 0));
    assert_eq!(shorten(&bytes(&odd)), None);
    assert_eq!(shorten(&long[1..]), None);
    // A jump over the end, which the kernel would refuse.
    let mut open = parse(&long).expect("whole instructions");
    open.pop();
    assert_eq!(shorten(&bytes(&open)), None);
    assert_eq!(shorten(&[]), None);
}

#[test]
fn conditions_part_ranges_where_their_answer_changes() {
    let all = Range {
        first: 0,
        last: u32::MAX,
        target: 0,
    };
    let parts = |code, operand, range| instruction(code, operand, 0, 0).part(range);
    let max = u32::MAX;
    assert_eq!(parts(IF_EQUAL, 0, all), Some(vec![(0, 0, true), (1, max, false)]));
    assert_eq!(
        parts(IF_EQUAL, max, all),
        Some(vec![(0, max - 1, false), (max, max, true)])
    );
    assert_eq!(parts(IF_GREATER, max, all), Some(vec![(0, max, false)]));
    assert_eq!(parts(IF_AT_LEAST, 0, all), Some(vec![(0, max, true)]));
    let within = Range {
        first: 5,
        last: 9,
        ..all
    };
    assert_eq!(parts(IF_AT_LEAST, 5, within), Some(vec![(5, 9, true)]));
    assert_eq!(
        parts(IF_GREATER, 7, within),
        Some(vec![(5, 7, false), (8, 9, true)])
    );
    assert_eq!(parts(IF_EQUAL, 4, within), Some(vec![(5, 9, false)]));
    assert_eq!(
        parts(IF_BITS, 1 << 31, all),
        Some(vec![(0, max >> 1, false), (1 << 31, max, true)])
    );
    assert_eq!(parts(IF_BITS, 3 << 30, all), None);
    assert_eq!(parts(IF_BITS, 1, all), None);
}
