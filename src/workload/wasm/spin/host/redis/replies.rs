//! What the answers of a Redis server cost where the client keeps them, and where each of them ends. A number has four bytes on
//! the wire and many more as a value; so values are counted, not lines, of which a text may have any number. Pure; bytes
//! of an unknown hand, which the client reads in the same way.

/// Lists within lists; the client takes no more either.
const DEEPEST: usize = 100;
/// Bytes of a line that says how long something is.
const LONGEST_NUMBER: usize = 32;

/// Where in an answer a server is.
#[derive(Debug, Default)]
pub struct Replies {
    /// The beginning of the line that is being read, and whether its end may be next.
    line: Vec<u8>,
    carriage_return: bool,
    /// Bytes of a text that are still to come.
    text: u64,
    /// Values that are still to come, of each list that has begun.
    lists: Vec<u64>,
}

/// What some bytes are: no more than to the end of an answer.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    pub bytes: usize,
    pub values: usize,
    /// Whether an answer ends with it.
    pub ends: bool,
}

impl Replies {
    /// Reads on.
    pub fn read(&mut self, bytes: &[u8]) -> Result<Part, String> {
        let mut part = Part::default();
        let mut rest = bytes.iter();
        while !rest.as_slice().is_empty() && !part.ends {
            let left = rest.as_slice().len();
            if self.text > 0 {
                let some = usize::try_from(self.text).map_or(left, |text| text.min(left));
                self.text -= some as u64;
                part.ends = self.text == 0 && self.value_ends();
                rest = rest.as_slice().get(some..).unwrap_or_default().iter();
            } else if rest.by_ref().any(|byte| self.ends_line(*byte)) {
                part.values += 1;
                part.ends = self.begins()?;
            }
        }
        part.bytes = bytes.len() - rest.as_slice().len();
        Ok(part)
    }

    fn ends_line(&mut self, byte: u8) -> bool {
        let ends = self.carriage_return && byte == b'\n';
        self.carriage_return = byte == b'\r';
        if self.line.len() <= LONGEST_NUMBER {
            self.line.push(byte);
        }
        ends
    }

    /// What the line that has ended begins; says whether the answer ends with it.
    fn begins(&mut self) -> Result<bool, String> {
        let line = std::mem::take(&mut self.line);
        self.carriage_return = false;
        let unknown = || "the server does not speak Redis's protocol".to_owned();
        let (kind, rest) = line.split_first().ok_or_else(unknown)?;
        let length = || {
            let text = std::str::from_utf8(rest).ok();
            let text = text.filter(|_| line.len() <= LONGEST_NUMBER);
            text.and_then(|text| text.trim().parse::<i64>().ok())
                .ok_or_else(unknown)
        };
        let (text, values) = match kind {
            b'+' | b'-' | b':' | b'_' | b',' | b'#' | b'(' => (None, 0),
            b'$' => (u64::try_from(length()?).ok(), 0),
            b'!' | b'=' => (Some(u64::try_from(length()?).map_err(|_| unknown())?), 0),
            b'*' | b'~' | b'>' => (None, u64::try_from(length()?).unwrap_or(0)),
            b'%' | b'|' => {
                let pairs = u64::try_from(length()?).map_err(|_| unknown())?;
                (None, pairs * 2 + u64::from(*kind == b'|'))
            }
            _ => return Err(unknown()),
        };
        if let Some(text) = text {
            // With the end of its line.
            self.text = text + 2;
            return Ok(false);
        }
        if values == 0 {
            return Ok(self.value_ends());
        }
        if self.lists.len() == DEEPEST {
            return Err("the server has sent lists that are too deep".to_owned());
        }
        self.lists.push(values);
        Ok(false)
    }

    /// Says whether the answer ends with the value that has ended.
    fn value_ends(&mut self) -> bool {
        while let Some(left) = self.lists.last_mut() {
            *left -= 1;
            if *left > 0 {
                return false;
            }
            self.lists.pop();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values of each whole answer, however the bytes come.
    fn values(bytes: &[u8], at_once: usize) -> Result<Vec<usize>, String> {
        let (mut replies, mut answers, mut values) = (Replies::default(), Vec::new(), 0);
        for mut some in bytes.chunks(at_once) {
            while !some.is_empty() {
                let part = replies.read(some)?;
                values += part.values;
                some = &some[part.bytes..];
                if part.ends {
                    answers.push(std::mem::take(&mut values));
                }
            }
        }
        Ok(answers)
    }

    #[test]
    fn answers_end_where_the_client_ends_them() {
        for (bytes, expected) in [
            ("+OK\r\n:1\r\n-ERR no\r\n_\r\n", &[1, 1, 1, 1][..]),
            // What looks like lines in a text is none.
            ("$10\r\n:1\r\n:1\r\nab\r\n$-1\r\n$0\r\n\r\n", &[1, 1, 1]),
            ("+a\n$9\r\n:1\r\n+a\rb\r\n", &[1, 1, 1]),
            ("*3\r\n:1\r\n*2\r\n$1\r\na\r\n*0\r\n*-1\r\n:2\r\n", &[6, 1]),
            ("%1\r\n+k\r\n~1\r\n#t\r\n|0\r\n,1.5\r\n", &[4, 2]),
            ("=5\r\ntxt:a\r\n>1\r\n(123\r\n*1\r\n", &[1, 2]),
        ] {
            for at_once in [1, 2, 3, bytes.len()] {
                assert_eq!(
                    values(bytes.as_bytes(), at_once).as_deref(),
                    Ok(expected),
                    "{bytes:?}"
                );
            }
        }
    }

    #[test]
    fn what_no_client_reads_is_an_error() {
        let deep = "*1\r\n".repeat(DEEPEST + 1);
        let long = format!("${}5\r\n", "0".repeat(LONGEST_NUMBER));
        for bytes in [
            "hello\r\n",
            "\r\n",
            "$x\r\n",
            "!-1\r\n",
            "%-1\r\n",
            "*\r\n",
            &deep,
            &long,
        ] {
            values(bytes.as_bytes(), 3).expect_err(bytes);
        }
    }

    #[test]
    fn it_is_the_client_s_own_reading() {
        let answer = "*3\r\n:1\r\n%1\r\n+k\r\n$2\r\n\r\n\r\n~2\r\n_\r\n#f\r\n";
        let value = redis::parse_redis_value(answer.as_bytes()).expect("an answer");
        fn count(value: &redis::Value) -> usize {
            1 + match value {
                redis::Value::Array(all) | redis::Value::Set(all) => all.iter().map(count).sum(),
                redis::Value::Map(all) => all.iter().map(|(key, value)| count(key) + count(value)).sum(),
                _ => 0,
            }
        }
        assert_eq!(values(answer.as_bytes(), 5), Ok(vec![count(&value)]));
    }
}
