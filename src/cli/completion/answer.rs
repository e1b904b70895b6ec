//! What a word of a command line may be, from the definitions of the commands. Pure: ids of containers come from who asks.

use clap::{Arg, Command};
use nix::sys::signal::Signal;

/// What the shell is to do beside showing the candidates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing.
    Words,
    /// To complete names of files, or of directories, as it does by itself.
    Files,
    Directories,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    kind: Kind,
    /// Words with what they mean, which may be empty.
    candidates: Vec<(String, String)>,
}

impl Answer {
    fn of(kind: Kind) -> Self {
        Self {
            kind,
            candidates: Vec::new(),
        }
    }

    /// The kind on the first line, then a candidate on each, with a tabulator before its meaning.
    pub(super) fn to_text(&self) -> String {
        let mut text = match self.kind {
            Kind::Words => "words\n",
            Kind::Files => "files\n",
            Kind::Directories => "directories\n",
        }
        .to_owned();
        for (word, meaning) in &self.candidates {
            text.push_str(&format!("{word}\t{meaning}\n"));
        }
        text
    }
}

/// Gives the ids of containers, of the state directory that `--root` names if it is given.
type Ids<'a> = &'a dyn Fn(Option<&str>) -> Vec<String>;

/// Where a command line has got to before its last word.
struct Position<'p> {
    command: &'p Command,
    /// How many words were arguments of `command` and no options.
    arguments: usize,
    /// An option whose value comes next.
    option: Option<&'p Arg>,
    /// After `--`.
    no_options: bool,
    root: Option<String>,
}

/// What the last of `words` may be; the program's own name is not among them.
pub(super) fn to(program: &Command, words: &[String], ids: Ids<'_>) -> Answer {
    let Some((last, before)) = words.split_last() else {
        return Answer::of(Kind::Words);
    };
    // bash makes words of their own of what is around an equals sign; the last one is only the value then.
    let (before, split) = join_values(before, last);
    let mut position = Position {
        command: program,
        arguments: 0,
        option: None,
        no_options: false,
        root: None,
    };
    for word in &before {
        position.pass(word);
    }
    let last = if split && last == "=" { "" } else { last };
    position.answer(last, ids)
}

/// Joins `--option`, `=` and `value`. Where the word to be completed is such a value, `--option` stays alone before it;
/// the second part says so.
fn join_values(before: &[String], last: &str) -> (Vec<String>, bool) {
    let mut joined: Vec<String> = Vec::with_capacity(before.len());
    let mut words = before.iter().peekable();
    let mut split = last == "=" && before.last().is_some_and(|word| word.starts_with("--"));
    while let Some(word) = words.next() {
        match joined.last_mut() {
            Some(option) if word == "=" && option.starts_with("--") => match words.next() {
                Some(value) => option.push_str(&format!("={value}")),
                None => split = true,
            },
            _ => joined.push(word.clone()),
        }
    }
    (joined, split)
}

impl<'p> Position<'p> {
    /// Goes past one word.
    fn pass(&mut self, word: &str) {
        if let Some(option) = self.option.take() {
            self.note(option, word);
        } else if self.is_past_options() {
            self.arguments += 1;
        } else if word == "--" {
            self.no_options = true;
        } else if let Some(long) = word.strip_prefix("--") {
            let (name, value) = match long.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (long, None),
            };
            let option = self
                .command
                .get_arguments()
                .find(|arg| arg.get_long() == Some(name));
            match (option, value) {
                (Some(option), Some(value)) => self.note(option, value),
                (Some(option), None) if takes_value(option) => self.option = Some(option),
                _ => {}
            }
        } else if word.len() > 1 && word.starts_with('-') {
            // Of letters together only the last one can have its value in the next word.
            let letter = word.chars().last();
            self.option = self
                .command
                .get_arguments()
                .find(|arg| arg.get_short() == letter)
                .filter(|option| takes_value(option));
        } else if let Some(command) = self.command.find_subcommand(word) {
            self.command = command;
        } else {
            self.arguments += 1;
        }
    }

    fn note(&mut self, option: &Arg, value: &str) {
        if option.get_long() == Some("root") {
            self.root = Some(value.to_owned());
        }
    }

    /// What comes after the container of `exec` and `ps` is for another program.
    fn is_past_options(&self) -> bool {
        let trailing = self.command.get_positionals().any(Arg::is_trailing_var_arg_set);
        self.no_options || trailing && self.arguments > 0
    }

    fn answer(&self, word: &str, ids: Ids<'_>) -> Answer {
        if let Some(option) = self.option {
            return self.values(option, word, "", ids);
        }
        if !self.is_past_options() && word.starts_with('-') {
            let named = word.strip_prefix("--").and_then(|long| long.split_once('='));
            return match named {
                Some((name, value)) => {
                    let option = self
                        .command
                        .get_arguments()
                        .find(|arg| arg.get_long() == Some(name));
                    option.map_or(Answer::of(Kind::Words), |option| {
                        self.values(option, value, &format!("--{name}="), ids)
                    })
                }
                None => self.options(word),
            };
        }
        if self.command.has_subcommands() {
            return self.commands(word);
        }
        let arguments: Vec<&Arg> = self.command.get_positionals().collect();
        match arguments.get(self.arguments).or(arguments.last()) {
            // The last one may stand for many, unless what follows is another program's.
            Some(argument) if self.arguments < arguments.len() || many(argument) => {
                self.values(argument, word, "", ids)
            }
            _ => Answer::of(Kind::Words),
        }
    }

    fn commands(&self, prefix: &str) -> Answer {
        // clap's own command has the same to say as the option.
        let commands = self
            .command
            .get_subcommands()
            .filter(|command| !command.is_hide_set() && command.get_name() != "help");
        Answer {
            kind: Kind::Words,
            candidates: commands
                .filter(|command| command.get_name().starts_with(prefix))
                .map(|command| (command.get_name().to_owned(), line(command.get_about())))
                .collect(),
        }
    }

    fn options(&self, prefix: &str) -> Answer {
        let options = self.command.get_arguments().filter(|arg| !arg.is_hide_set());
        let candidates = options.filter_map(|arg| {
            let long = format!("--{}", arg.get_long()?);
            long.starts_with(prefix).then(|| (long, line(arg.get_help())))
        });
        let mut candidates: Vec<_> = candidates.collect();
        candidates.sort_unstable();
        Answer {
            kind: Kind::Words,
            candidates,
        }
    }

    /// The values of an option or argument that begin with `word`, each with `before` in front of it.
    fn values(&self, arg: &Arg, word: &str, before: &str, ids: Ids<'_>) -> Answer {
        let possible = arg.get_possible_values();
        let words: Vec<(String, String)> = if possible.is_empty() {
            let names = arg.get_value_names().unwrap_or_default();
            let name = names
                .get(self.arguments)
                .or(names.last())
                .map_or("", |name| name.as_str());
            let makes_one = matches!(self.command.get_name(), "create" | "run" | "restore");
            match name {
                "FILE" | "SOCKET" | "PATH" => return Answer::of(Kind::Files),
                "DIR" | "LAYOUT" | "ROOTFS" => return Answer::of(Kind::Directories),
                "CONTAINER-ID" if !makes_one => ids(self.root.as_deref()).into_iter().map(alone).collect(),
                "SIGNAL" => Signal::iterator()
                    .map(|signal| alone(signal.as_str().trim_start_matches("SIG").to_owned()))
                    .collect(),
                _ => Vec::new(),
            }
        } else {
            let shown = possible.iter().filter(|value| !value.is_hide_set());
            shown
                .map(|value| (value.get_name().to_owned(), line(value.get_help())))
                .collect()
        };
        let matching = words.into_iter().filter(|(value, _)| value.starts_with(word));
        Answer {
            kind: Kind::Words,
            candidates: matching
                .map(|(value, meaning)| (format!("{before}{value}"), meaning))
                .collect(),
        }
    }
}

fn alone(word: String) -> (String, String) {
    (word, String::new())
}

/// Whether an option's value is the next word.
fn takes_value(option: &Arg) -> bool {
    option.get_action().takes_values() && !option.is_require_equals_set()
}

fn many(argument: &Arg) -> bool {
    !argument.is_trailing_var_arg_set()
        && argument
            .get_num_args()
            .is_some_and(|range| range.max_values() > 1)
}

/// The first line of a text.
fn line(text: Option<&clap::builder::StyledStr>) -> String {
    let text = text.map(ToString::to_string).unwrap_or_default();
    text.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kind and candidates, with `%` before a word where the state directory is not the usual one.
    fn complete(words: &[&str]) -> (Kind, Vec<String>) {
        let mut program = crate::cli::whole();
        program.build();
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let ids = |root: Option<&str>| match root {
            None => vec!["web-1".to_owned(), "web-2".to_owned(), "db".to_owned()],
            Some(root) => vec![format!("in-{root}")],
        };
        let answer = to(&program, &words, &ids);
        let words = answer.candidates.into_iter().map(|(word, _)| word);
        (answer.kind, words.collect())
    }

    fn words(words: &[&str]) -> Vec<String> {
        complete(words).1
    }

    #[test]
    fn commands_are_completed() {
        assert_eq!(words(&["del"]), ["delete"]);
        assert!(words(&[""]).contains(&"create".to_owned()));
        assert_eq!(words(&["--debug", "--root", "/x", "pa"]), ["pause"]);
        assert_eq!(words(&["mounts", ""]), ["add", "remove"]);
        assert_eq!(words(&["completion", ""]), ["bash", "zsh", "fish"]);
        assert_eq!(words(&["nonsense", "x", ""]), words(&[""]));
        assert_eq!(words(&[]), [] as [&str; 0]);
    }

    #[test]
    fn options_are_completed() {
        assert_eq!(words(&["delete", "--f"]), ["--force"]);
        assert_eq!(words(&["create", "--pid"]), ["--pid-file", "--pidfd-socket"]);
        assert_eq!(words(&["--log-"]), ["--log-format", "--log-level"]);
        assert_eq!(words(&["--cri"]), [] as [&str; 0], "it is hidden");
        // Those of the program inside.
        assert_eq!(words(&["exec", "db", "--"]), [] as [&str; 0]);
        assert_eq!(words(&["delete", "--", "-"]), [] as [&str; 0]);
    }

    #[test]
    fn values_are_completed() {
        assert_eq!(words(&["list", "--format", "j"]), ["json"]);
        assert_eq!(words(&["list", "-f", ""]), ["table", "json"]);
        assert_eq!(words(&["list", "--format=t"]), ["--format=table"]);
        // As bash has it.
        assert_eq!(words(&["list", "--format", "=", "t"]), ["table"]);
        assert_eq!(words(&["list", "--format", "="]), ["table", "json"]);
        assert_eq!(words(&["--log-level", "=", "debug", "sta"]), ["start", "state"]);
        assert_eq!(words(&["kill", "db", "KI"]), ["KILL"]);
        for (line, kind) in [
            (&["--log", ""][..], Kind::Files),
            (&["create", "--bundle", ""], Kind::Directories),
            (&["create", "-b", "x"], Kind::Directories),
            (&["mounts", "add", "db", ""], Kind::Files),
            (&["wasm", "compile", "x", ""], Kind::Files),
            (&["wasm", "unpack", "x", ""], Kind::Directories),
            (&["exec", "db", ""], Kind::Words),
        ] {
            assert_eq!(complete(line), (kind, vec![]), "{line:?}");
        }
    }

    #[test]
    fn containers_are_completed() {
        assert_eq!(words(&["state", "web"]), ["web-1", "web-2"]);
        assert_eq!(words(&["exec", "-t", "--user", "1", "d"]), ["db"]);
        assert_eq!(words(&["kill", ""]).len(), 3);
        assert_eq!(words(&["mounts", "remove", "d"]), ["db"]);
        assert_eq!(words(&["--root", "there", "state", ""]), ["in-there"]);
        assert_eq!(words(&["--root", "=", "there", "state", ""]), ["in-there"]);
        assert_eq!(words(&["state", "db", ""]), [] as [&str; 0], "there is one only");
        assert_eq!(words(&["run", ""]), [] as [&str; 0], "it is to be a new one");
    }

    #[test]
    fn text_is_a_kind_and_lines() {
        let answer = Answer {
            kind: Kind::Words,
            candidates: vec![("a".into(), "the first".into()), ("b".into(), String::new())],
        };
        assert_eq!(answer.to_text(), "words\na\tthe first\nb\t\n");
    }
}
