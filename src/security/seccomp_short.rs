//! A filter that answers what another one answers, with fewer instructions and fewer of them in the way of each call.
//!
//! libseccomp tests the numbers of calls one by one, in groups of four at the ends of a tree. Almost all numbers beside
//! each other have the same answer, so a search among ranges of numbers has a sixth of the instructions: less for the
//! kernel to translate at each start of a container, to try with every call's number for its cache of answers, and to run.
//!
//! ```text
//! load the architecture; for each that is asked for:  load the number, search its range
//!                                                     └─> return, or what looks at arguments: as it was
//! ```
//!
//! Nothing is taken to be known of the filter. It is walked through for each architecture that it compares with, and for
//! any other, with all numbers at once, which each comparison parts in two; where it does anything but load, compare and
//! jump before it answers or looks at anything else, it stays as it is.

use crate::sys::seccomp::INSTRUCTION_SIZE;

/// Offsets in `struct seccomp_data` (seccomp(2)).
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;

/// Instruction codes of classic BPF (<linux/bpf_common.h>).
const LOAD: u16 = 0x20;
const JUMP: u16 = 0x05;
const IF_EQUAL: u16 = 0x15;
const IF_GREATER: u16 = 0x25;
const IF_AT_LEAST: u16 = 0x35;
const IF_BITS: u16 = 0x45;
const RETURN: u16 = 0x06;

/// A bit below this one would part the numbers into too many ranges; the one that is asked for is x32's, 1 << 30.
const LOWEST_BIT: u32 = 1 << 28;

/// How many ranges are searched by comparisons that lead to ends which they share: no jump of a comparison is longer than 255
/// instructions.
const GROUP: usize = 100;

/// `struct sock_filter` of <linux/filter.h>.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Instruction {
    code: u16,
    /// How many instructions to skip where the condition holds, and where it does not.
    if_true: u8,
    if_false: u8,
    operand: u32,
}

/// Numbers from the first to the last, and the instruction of the filter that is reached with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    first: u32,
    last: u32,
    target: usize,
}

/// What the accumulator holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loaded {
    Nothing,
    Number,
    Architecture,
}

/// The shorter program, or `None` where there is none.
pub(super) fn shorten(program: &[u8]) -> Option<Vec<u8>> {
    let old = parse(program)?;
    let mut compared = Vec::new();
    let other = walk(&old, None, &mut compared)?;
    let known = compared.clone();
    let mut sections = Vec::with_capacity(known.len());
    for architecture in known {
        sections.push((architecture, walk(&old, Some(architecture), &mut compared)?));
    }
    let new = Writer::new(&old).write(&sections, &other)?;
    (new.len() < old.len()).then(|| bytes(&new))
}

fn parse(program: &[u8]) -> Option<Vec<Instruction>> {
    let (instructions, rest) = program.as_chunks::<INSTRUCTION_SIZE>();
    let parsed = instructions.iter().map(|one| Instruction {
        code: u16::from_ne_bytes([one[0], one[1]]),
        if_true: one[2],
        if_false: one[3],
        operand: u32::from_ne_bytes([one[4], one[5], one[6], one[7]]),
    });
    rest.is_empty().then(|| parsed.collect())
}

fn bytes(program: &[Instruction]) -> Vec<u8> {
    let one = |one: &Instruction| {
        let [a, b] = one.code.to_ne_bytes();
        let [c, d, e, f] = one.operand.to_ne_bytes();
        [a, b, one.if_true, one.if_false, c, d, e, f]
    };
    program.iter().flat_map(one).collect()
}

/// Where each number leads on an architecture, or on any that the filter does not compare with: ranges in order, which
/// have all numbers between them. `compared` gets the architectures that the filter does compare with.
fn walk(program: &[Instruction], architecture: Option<u32>, compared: &mut Vec<u32>) -> Option<Vec<Range>> {
    let mut ends: Vec<Range> = Vec::new();
    let all = Range {
        first: 0,
        last: u32::MAX,
        target: 0,
    };
    // The lowest numbers last: they are taken first, and the ends come in order.
    let mut open = vec![(all, Loaded::Nothing)];
    while let Some((mut range, mut loaded)) = open.pop() {
        loop {
            let at = range.target;
            let one = *program.get(at)?;
            match (one.code, loaded) {
                (LOAD, _) if one.operand == NUMBER => loaded = Loaded::Number,
                (LOAD, _) if one.operand == ARCHITECTURE => loaded = Loaded::Architecture,
                // An argument, or the address of the call. Nothing that was loaded before counts from here on.
                (LOAD | RETURN, _) => break,
                (JUMP, _) => range.target = at + usize::try_from(one.operand).ok()?,
                (IF_EQUAL, Loaded::Architecture) => {
                    if architecture.is_none() && !compared.contains(&one.operand) {
                        compared.push(one.operand);
                    }
                    range.target = at + one.skip(architecture == Some(one.operand));
                }
                (_, Loaded::Number) => {
                    let parts = one.part(range)?;
                    for (first, last, holds) in parts.into_iter().rev() {
                        let target = at + 1 + one.skip(holds);
                        open.push((Range { first, last, target }, loaded));
                    }
                    break;
                }
                _ => return None,
            }
            range.target += 1;
        }
        let reached = program.get(range.target)?;
        if !matches!(reached.code, LOAD | RETURN) {
            continue;
        }
        push(&mut ends, range, program);
    }
    Some(ends)
}

/// Adds a range, to the one before it where both have the same answer.
fn push(ranges: &mut Vec<Range>, range: Range, program: &[Instruction]) {
    match ranges.last_mut() {
        Some(before) if same_end(program, before.target, range.target) => before.last = range.last,
        _ => ranges.push(range),
    }
}

fn same_end(program: &[Instruction], a: usize, b: usize) -> bool {
    a == b || program[a].code == RETURN && program[a] == program[b]
}

impl Instruction {
    fn skip(&self, holds: bool) -> usize {
        usize::from(if holds { self.if_true } else { self.if_false })
    }

    /// The parts of a range of numbers for which this condition holds and does not, in order.
    fn part(&self, range: Range) -> Option<Vec<(u32, u32, bool)>> {
        let Range { first, last, .. } = range;
        let operand = self.operand;
        // Numbers from which on the condition's answer is another one, and whether it holds for the first one.
        let (turns, holds): (Vec<u32>, bool) = match self.code {
            IF_EQUAL => (
                [Some(operand), operand.checked_add(1)]
                    .into_iter()
                    .flatten()
                    .collect(),
                operand == 0,
            ),
            IF_GREATER => (operand.checked_add(1).into_iter().collect(), false),
            IF_AT_LEAST => (vec![operand], operand == 0),
            IF_BITS if operand.is_power_of_two() && operand >= LOWEST_BIT => (
                (1..=u32::MAX / operand).map(|times| times * operand).collect(),
                false,
            ),
            _ => return None,
        };
        let mut parts = vec![];
        let (mut from, mut holds) = (first, holds);
        for turn in turns.into_iter().filter(|turn| *turn > 0) {
            if turn <= first {
                holds = !holds;
            } else if turn <= last {
                parts.push((from, turn - 1, holds));
                (from, holds) = (turn, !holds);
            }
        }
        parts.push((from, last, holds));
        Some(parts)
    }
}

/// Writes the new program.
struct Writer<'a> {
    old: &'a [Instruction],
    new: Vec<Instruction>,
    /// Jumps whose distance is not known yet: where they are, and the old place that they lead to.
    open: Vec<(usize, usize)>,
}

impl<'a> Writer<'a> {
    fn new(old: &'a [Instruction]) -> Self {
        Self {
            old,
            new: Vec::new(),
            open: Vec::new(),
        }
    }

    fn write(mut self, sections: &[(u32, Vec<Range>)], other: &[Range]) -> Option<Vec<Instruction>> {
        self.push(LOAD, ARCHITECTURE);
        for (architecture, ranges) in sections {
            let mut section = Writer::new(self.old);
            section.section(ranges)?;
            let length = section.new.len();
            if let Ok(length) = u8::try_from(length) {
                self.branch(IF_EQUAL, *architecture, 0, length);
            } else {
                self.branch(IF_EQUAL, *architecture, 1, 0);
                self.push(JUMP, u32::try_from(length).ok()?);
            }
            self.append(section);
        }
        self.section(other)?;
        self.keep_the_rest()?;
        Some(self.new)
    }

    fn push(&mut self, code: u16, operand: u32) {
        self.branch(code, operand, 0, 0);
    }

    fn branch(&mut self, code: u16, operand: u32, if_true: u8, if_false: u8) {
        self.new.push(Instruction {
            code,
            if_true,
            if_false,
            operand,
        });
    }

    fn append(&mut self, other: Self) {
        let begin = self.new.len();
        self.new.extend(other.new);
        self.open
            .extend(other.open.into_iter().map(|(at, target)| (begin + at, target)));
    }

    fn section(&mut self, ranges: &[Range]) -> Option<()> {
        if ranges.len() > 1 {
            self.push(LOAD, NUMBER);
        }
        self.search(ranges)
    }

    /// The lower half follows, the upper one is behind it.
    fn search(&mut self, ranges: &[Range]) -> Option<()> {
        if ranges.len() <= GROUP {
            return self.group(ranges);
        }
        let (lower, upper) = ranges.split_at(ranges.len() / 2);
        let mut below = Writer::new(self.old);
        below.search(lower)?;
        let length = below.new.len();
        if let Ok(length) = u8::try_from(length) {
            self.branch(IF_AT_LEAST, upper[0].first, length, 0);
        } else {
            self.branch(IF_AT_LEAST, upper[0].first, 0, 1);
            self.push(JUMP, u32::try_from(length).ok()?);
        }
        self.append(below);
        self.search(upper)
    }

    /// Comparisons alone, and behind them what they lead to, each of that once.
    fn group(&mut self, ranges: &[Range]) -> Option<()> {
        let mut exits = Vec::with_capacity(ranges.len());
        match ranges {
            [] => return None,
            [one] => return self.end(one.target),
            more => self.compare(more, &mut exits)?,
        }
        let mut ends: Vec<(usize, usize)> = Vec::new();
        for (at, holds, target) in exits {
            let found = ends.iter().find(|(end, _)| same_end(self.old, *end, target));
            let place = match found {
                Some((_, place)) => *place,
                None => {
                    ends.push((target, self.new.len()));
                    self.end(target)?;
                    self.new.len() - 1
                }
            };
            self.set_skip(at, holds, place)?;
        }
        Some(())
    }

    /// Two ranges at least. `exits` gets the comparisons that decide, for which outcome, and where that leads.
    fn compare(&mut self, ranges: &[Range], exits: &mut Vec<(usize, bool, usize)>) -> Option<()> {
        let (lower, upper) = ranges.split_at(ranges.len() / 2);
        let at = self.new.len();
        self.push(IF_AT_LEAST, upper[0].first);
        match lower {
            [one] => exits.push((at, false, one.target)),
            more => self.compare(more, exits)?,
        }
        match upper {
            [one] => exits.push((at, true, one.target)),
            more => {
                self.set_skip(at, true, self.new.len())?;
                self.compare(more, exits)?;
            }
        }
        Some(())
    }

    fn set_skip(&mut self, at: usize, holds: bool, to: usize) -> Option<()> {
        let skip = u8::try_from(to - at - 1).ok()?;
        if holds {
            self.new[at].if_true = skip;
        } else {
            self.new[at].if_false = skip;
        }
        Some(())
    }

    /// Answers as the old program does from `target` on.
    fn end(&mut self, target: usize) -> Option<()> {
        let old = *self.old.get(target)?;
        if old.code == RETURN {
            self.new.push(old);
        } else {
            self.open.push((self.new.len(), target));
            self.push(JUMP, 0);
        }
        Some(())
    }

    /// Appends what is reached of the old program, in its order, and has the jumps lead there. Jumps lead forward alone.
    fn keep_the_rest(&mut self) -> Option<()> {
        let mut reached = vec![false; self.old.len()];
        for (_, target) in &self.open {
            reached[*target] = true;
        }
        let mut places = vec![0; self.old.len()];
        let mut length = self.new.len();
        for at in 0..self.old.len() {
            if reached[at] {
                places[at] = length;
                length += 1;
                for next in self.old[at].next(at) {
                    *reached.get_mut(next)? = true;
                }
            }
        }
        for at in (0..self.old.len()).filter(|at| reached[*at]) {
            let mut one = self.old[at];
            let distance = |skip: usize| places[at + 1 + skip] - places[at] - 1;
            if one.code == JUMP {
                one.operand = u32::try_from(distance(usize::try_from(one.operand).ok()?)).ok()?;
            } else if one.is_condition() {
                // What lay between may have gone, and nothing came.
                one.if_true = u8::try_from(distance(usize::from(one.if_true))).ok()?;
                one.if_false = u8::try_from(distance(usize::from(one.if_false))).ok()?;
            }
            self.new.push(one);
        }
        for (at, target) in std::mem::take(&mut self.open) {
            self.new[at].operand = u32::try_from(places[target] - at - 1).ok()?;
        }
        Some(())
    }
}

impl Instruction {
    /// Of the class BPF_JMP.
    fn is_class_jump(&self) -> bool {
        self.code & 0x07 == 0x05
    }

    fn is_condition(&self) -> bool {
        self.is_class_jump() && self.code != JUMP
    }

    /// The places that may follow this one at `at`.
    fn next(&self, at: usize) -> Vec<usize> {
        match self.code {
            // Also with the accumulator as the answer.
            code if code & 0x07 == RETURN => vec![],
            JUMP => usize::try_from(self.operand).map_or_else(|_| vec![], |skip| vec![at + 1 + skip]),
            _ if self.is_condition() => vec![at + 1 + self.skip(true), at + 1 + self.skip(false)],
            _ => vec![at + 1],
        }
    }
}

#[cfg(test)]
mod tests;
