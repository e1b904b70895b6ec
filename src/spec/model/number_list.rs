//! Lists of CPUs or memory nodes as the kernel writes them: numbers and ranges with commas between (`0-3,7`).

use serde::Serialize;
use serde::de::{Deserialize, Deserializer, Error as _};

/// The highest number taken: what the masks of sched_setaffinity(2) and set_mempolicy(2) hold on every kernel
/// (CPU_SETSIZE of CPU_SET(3), and the largest NODES_SHIFT).
const MAX: u32 = 1023;

/// The numbers of a list, ascending, each once. Spaces and empty parts are passed over, as in runc; a list
/// of nothing is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct NumberList(Vec<u32>);

impl NumberList {
    pub fn numbers(&self) -> &[u32] {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn parse(text: &str) -> Result<Self, String> {
        let number = |text: &str| match text.trim().parse::<u32>() {
            Ok(number) if number <= MAX => Ok(number),
            Ok(number) => Err(format!("{number} is above {MAX}")),
            Err(_) => Err(format!("{text:?} is not a number")),
        };
        let mut numbers = Vec::new();
        for part in text.split(',').filter(|part| !part.trim().is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                return Err(format!("the range {part:?} runs backwards"));
            }
            numbers.extend(first..=last);
        }
        numbers.sort_unstable();
        numbers.dedup();
        Ok(Self(numbers))
    }
}

impl<'de> Deserialize<'de> for NumberList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(|problem| D::Error::custom(format_args!("{text:?}: {problem}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_ranges_become_a_sorted_list() {
        let list = |text| NumberList::parse(text).unwrap().0;
        assert_eq!(list("0-3,7"), [0, 1, 2, 3, 7]);
        assert_eq!(list(" 5 , 1-2,, 2 - 3,"), [1, 2, 3, 5]);
        assert_eq!(list("1023"), [1023]);
        assert!(list("").is_empty() && list(" , ").is_empty());
    }

    #[test]
    fn what_is_no_list_is_named() {
        for (text, problem) in [
            ("a", "\"a\" is not a number"),
            ("1-", "\"\" is not a number"),
            ("-1", "\"\" is not a number"),
            ("1-2-3", "\"2-3\" is not a number"),
            ("3-1", "the range \"3-1\" runs backwards"),
            ("0-1024", "1024 is above 1023"),
            ("0-4294967296", "\"4294967296\" is not a number"),
        ] {
            assert_eq!(NumberList::parse(text).unwrap_err(), problem, "{text}");
        }
    }
}
