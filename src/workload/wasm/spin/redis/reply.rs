//! The protocol of Redis, of its version 2, as far as a subscriber meets it. Pure; bytes of an unknown hand.

/// What a server says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    Status(String),
    Error(String),
    Number(i64),
    Bytes(Vec<u8>),
    Nil,
    List(Vec<Reply>),
}

/// Most bytes of a line, and most members of a list; a subscriber is sent short ones.
const LINE: usize = 4096;
const MEMBERS: usize = 64;

/// The first whole answer, and how many bytes it has; `None` where more must come. `most` is what all texts in it may
/// have.
pub fn parse(bytes: &[u8], most: usize) -> Result<Option<(Reply, usize)>, String> {
    let read = |keeps| {
        let mut reader = Reader {
            bytes,
            at: 0,
            left: most,
            most,
            keeps,
        };
        let reply = reader.reply(true)?;
        Ok::<_, String>(reply.map(|reply| (reply, reader.at)))
    };
    // Nothing is copied before all of it is there: a server that sends the rest byte by byte would have the first part
    // of it copied for each.
    match read(false)? {
        Some(_) => read(true),
        None => Ok(None),
    }
}

/// A command, as a list of its words.
pub fn command(words: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
    }
    bytes
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Bytes that texts may still have.
    left: usize,
    most: usize,
    /// Whether texts are copied.
    keeps: bool,
}

impl Reader<'_> {
    fn reply(&mut self, outermost: bool) -> Result<Option<Reply>, String> {
        let Some(line) = self.line()? else { return Ok(None) };
        let Some((kind, rest)) = line.split_at_checked(1) else {
            return Err("the server has sent an empty line".to_owned());
        };
        let number = || {
            rest.parse::<i64>()
                .map_err(|_| "the server has sent a number that is none".to_owned())
        };
        Ok(Some(match kind {
            "+" => Reply::Status(rest.to_owned()),
            "-" => Reply::Error(rest.to_owned()),
            ":" => Reply::Number(number()?),
            "$" | "*" if number()? < 0 => Reply::Nil,
            "$" => return self.bytes_of(number()?),
            "*" if outermost => return self.list_of(number()?),
            _ => return Err("the server does not speak Redis's protocol".to_owned()),
        }))
    }

    fn bytes_of(&mut self, length: i64) -> Result<Option<Reply>, String> {
        let length = usize::try_from(length).ok().filter(|length| *length <= self.left);
        let length = length.ok_or_else(|| {
            format!(
                "the server has sent more than the {} bytes that a message may have",
                self.most
            )
        })?;
        let end = self.at + length;
        let Some(tail) = self.bytes.get(end..end + 2) else {
            return Ok(None);
        };
        if tail != b"\r\n" {
            return Err("the server has sent a text longer than it says".to_owned());
        }
        let bytes = self.bytes.get(self.at..end).filter(|_| self.keeps);
        let bytes = bytes.unwrap_or_default().to_vec();
        self.at = end + 2;
        self.left -= length;
        Ok(Some(Reply::Bytes(bytes)))
    }

    fn list_of(&mut self, count: i64) -> Result<Option<Reply>, String> {
        let count = usize::try_from(count).ok().filter(|count| *count <= MEMBERS);
        let count = count.ok_or_else(|| "the server has sent a list that is too long".to_owned())?;
        let mut members = Vec::new();
        for _ in 0..count {
            match self.reply(false)? {
                Some(member) => members.push(member),
                None => return Ok(None),
            }
        }
        Ok(Some(Reply::List(members)))
    }

    /// The next line without its end.
    fn line(&mut self) -> Result<Option<String>, String> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let head = rest.get(..rest.len().min(LINE)).unwrap_or_default();
        let Some(end) = head.windows(2).position(|pair| pair == b"\r\n") else {
            if head.len() == LINE {
                return Err("the server has sent a line that is too long".to_owned());
            }
            return Ok(None);
        };
        self.at += end + 2;
        let line = head.get(..end).unwrap_or_default();
        Ok(Some(String::from_utf8_lossy(line).into_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &[u8] = b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$3\r\na\r\n\r\n";

    #[test]
    fn an_answer_is_read_when_all_of_it_is_there() {
        for end in 0..MESSAGE.len() {
            let part = MESSAGE.get(..end).expect("a part");
            assert_eq!(parse(part, 100), Ok(None), "{end}");
        }
        let more = [MESSAGE, b":1\r\n"].concat();
        let bytes = |text: &[u8]| Reply::Bytes(text.to_vec());
        let expected = Reply::List(vec![bytes(b"message"), bytes(b"c"), bytes(b"a\r\n")]);
        assert_eq!(parse(&more, 100), Ok(Some((expected, MESSAGE.len()))));
    }

    #[test]
    fn each_kind_is_known() {
        for (text, reply) in [
            ("+OK\r\n", Reply::Status("OK".to_owned())),
            ("-ERR no\r\n", Reply::Error("ERR no".to_owned())),
            (":-7\r\n", Reply::Number(-7)),
            ("$-1\r\n", Reply::Nil),
            ("$0\r\n\r\n", Reply::Bytes(Vec::new())),
            ("*0\r\n", Reply::List(Vec::new())),
        ] {
            assert_eq!(
                parse(text.as_bytes(), 100),
                Ok(Some((reply, text.len()))),
                "{text:?}"
            );
        }
    }

    #[test]
    fn what_is_no_answer_or_too_much_is_an_error() {
        let long = "+".repeat(LINE);
        for text in [
            "HTTP/1.1 400 Bad Request\r\n",
            "\r\n",
            ":one\r\n",
            "$101\r\n",
            "*2\r\n$60\r\n123456789.123456789.123456789.123456789.123456789.123456789.\r\n$41\r\n",
            "$99999999999999999999\r\n",
            "$1\r\nabc",
            "*65\r\n",
            "*1\r\n*1\r\n",
            &long,
        ] {
            assert!(parse(text.as_bytes(), 100).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_command_is_a_list_of_its_words() {
        assert_eq!(
            command(&["AUTH", "päss"]),
            "*2\r\n$4\r\nAUTH\r\n$5\r\npäss\r\n".as_bytes()
        );
    }
}
