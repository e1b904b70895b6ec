//! The linker's map of a program (LLD's `-Map`): its code and constants, section by section, and how a linker script names
//! each without what differs from build to build.

use std::collections::BTreeMap;

/// Tables that the compiler makes of one function's `match` have its name behind one of these.
const OF_FUNCTIONS: [&str; 3] = [".rodata..Lswitch.table.", ".rodata.unlikely.", ".rodata."];

/// What the linker moves as a whole: a function of Rust, its table, the code of an object file of C.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// The file it is from; `path/libc.a(malloc.o)` where that is an archive.
    file: String,
    name: String,
    pub size: u64,
}

#[derive(Debug, Default)]
pub struct Map {
    /// Those with code.
    pub code: Vec<Section>,
    pub constants: Vec<Section>,
    /// For the address of each function the index of its code.
    pub functions: BTreeMap<u64, usize>,
}

impl Map {
    pub fn read(text: &str) -> Self {
        let mut map = Map::default();
        let mut output = "";
        for line in text.lines() {
            let Some((address, size, depth, text)) = entry(line) else {
                continue;
            };
            let (code, constants) = (output.starts_with(".text"), output.starts_with(".rodata"));
            match depth {
                0 => output = text,
                1 if code => map.code.extend(Section::read(text, size)),
                1 if constants => map.constants.extend(Section::read(text, size)),
                2 if code && !map.code.is_empty() => {
                    map.functions.entry(address).or_insert(map.code.len() - 1);
                }
                _ => (),
            }
        }
        map
    }
}

/// Address, size, depth and text of a line `VMA LMA Size Align Out In Symbol`: how deep it is, the text's column tells.
fn entry(line: &str) -> Option<(u64, u64, usize, &str)> {
    let mut rest = line;
    let mut fields = [""; 4];
    for field in &mut fields {
        (*field, rest) = rest.trim_start().split_once(' ')?;
    }
    let number = |field| u64::from_str_radix(field, 16).ok();
    let text = rest.trim_start();
    let depth = (rest.len() - text.len()) / 8;
    Some((number(fields[0])?, number(fields[2])?, depth, text))
}

impl Section {
    /// Of `FILE:(NAME)`. What the linker makes itself is written otherwise.
    fn read(text: &str, size: u64) -> Option<Self> {
        let (file, name) = text.strip_suffix(')')?.rsplit_once(":(")?;
        let (file, name) = (file.to_owned(), name.to_owned());
        Some(Section { file, name, size })
    }

    /// Archive and member, where it is of one.
    fn member(&self) -> Option<(String, &str)> {
        let file = self
            .file
            .rsplit_once('/')
            .map_or(self.file.as_str(), |(_, file)| file);
        let (archive, member) = file.strip_suffix(')')?.split_once('(')?;
        let archive = match archive.rsplit_once('-') {
            Some((name, _)) if archive.ends_with(".rlib") => format!("{name}-*.rlib"),
            _ => archive.to_owned(),
        };
        Some((archive, member))
    }

    /// What a linker script calls it.
    pub fn pattern(&self) -> String {
        let name = without_hashes(&self.name);
        match self.member() {
            Some((archive, member)) => {
                // cargo's C libraries begin the names of their objects with a hash.
                let member = match member.split_once('-') {
                    Some((hash, rest)) if hash.len() == 16 => format!("*-{rest}"),
                    _ => member.to_owned(),
                };
                format!("*{archive}:{member}({name})")
            }
            None if name == ".text" => {
                let file = self
                    .file
                    .rsplit_once('/')
                    .map_or(self.file.as_str(), |(_, file)| file);
                format!("*{file}({name})")
            }
            None => format!("*({name})"),
        }
    }

    /// All constants of its archive.
    pub fn constants_of_archive(&self) -> Option<String> {
        let (archive, _) = self.member()?;
        Some(format!("*{archive}:*(.rodata .rodata.*)"))
    }

    /// The function of Rust that this is the code, or a table, of.
    pub fn function(&self) -> Option<String> {
        let prefixes = [".text.unlikely.", ".text."].into_iter().chain(OF_FUNCTIONS);
        let name = prefixes
            .into_iter()
            .find_map(|prefix| self.name.strip_prefix(prefix))?;
        name.starts_with("_R").then(|| without_hashes(name))
    }
}

/// A name of Rust with `*` for what compiler and cargo make anew: the hashes of the crates in it, and where in the name
/// something comes again, which is after them.
fn without_hashes(name: &str) -> String {
    if !name.contains("_R") {
        return name.to_owned();
    }
    // A number tells two functions of one name apart.
    let (stem, number) = match name.rsplit_once('.') {
        Some((stem, number)) if number.bytes().all(|byte| byte.is_ascii_digit()) => (stem, "*"),
        _ => (name, ""),
    };
    let whole: String = stem.split_inclusive('_').map(without_number).collect();
    without_instantiating_crate(&whole).to_owned() + number
}

/// The name of an instance of a generic function ends with the crate that it was made for first, which is another one when
/// dependencies change. What is left of it ends with the `*` of its hash.
fn without_instantiating_crate(name: &str) -> &str {
    const CRATE: &str = "Cs*";
    let Some((before, named)) = name.rsplit_once("Cs*_") else {
        return name;
    };
    let digits = named.bytes().take_while(u8::is_ascii_digit).count();
    let (length, identifier) = named.split_at(digits);
    match length.parse::<usize>() {
        Ok(length) if identifier.len() == length => &name[..before.len() + CRATE.len()],
        _ => name,
    }
}

/// Of a part of a name up to its `_`: without the number in base 62 that ends it, where that is a crate's or of one that
/// comes again.
fn without_number(part: &str) -> String {
    let is_number = |text: &str, most: usize| {
        text.strip_suffix('_')
            .is_some_and(|text| text.len() <= most && text.bytes().all(|byte| byte.is_ascii_alphanumeric()))
    };
    for (tag, most) in [("Cs", 12), ("B", 3)] {
        let mut found = part.match_indices(tag).map(|(at, _)| at + tag.len());
        if let Some(at) = found.find(|at| is_number(&part[*at..], most)) {
            return format!("{}*_", &part[..at]);
        }
    }
    part.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: &str = "\
             VMA              LMA     Size Align Out     In      Symbol
          201000           201000       4e     8 .rodata
          201000           201000       44     8         wrun.o:(.rodata._RNvCs0123456789a_4wrun4main)
          201044           201044        a     1         <internal>:(.rodata.str1.1)
          6c1fc0           6c1fc0      290    64 .text
          6c1fc0           6c1fc0      1a0    16         wrun.o:(.text._RNvCs0123456789a_4wrun4main)
          6c1fc0           6c1fc0      1a0     1                 _RNvCs0123456789a_4wrun4main
          6c2160           6c2160       f0    16         /usr/lib/libc.a(malloc.o):(.text)
          6c2160           6c2160       80     1                 malloc
          6c21e0           6c21e0       70     1                 free
          700000           700000        8     8 .data
          700000           700000        8     8         wrun.o:(.data.x)
";

    #[test]
    fn code_and_constants_are_read() {
        let map = Map::read(MAP);
        let patterns =
            |sections: &[Section]| -> Vec<String> { sections.iter().map(Section::pattern).collect() };
        assert_eq!(
            patterns(&map.code),
            ["*(.text._RNvCs*_4wrun4main)", "*libc.a:malloc.o(.text)"]
        );
        assert_eq!(patterns(&map.constants)[0], "*(.rodata._RNvCs*_4wrun4main)");
        assert_eq!(map.constants[0].function(), map.code[0].function());
        assert_eq!(map.code[1].function(), None);
        assert_eq!(map.code[0].size, 0x1a0);
        let functions: Vec<_> = map.functions.into_iter().collect();
        assert_eq!(functions, [(0x6c1fc0, 0), (0x6c2160, 1), (0x6c21e0, 1)]);
    }

    #[test]
    fn hashes_are_left_out() {
        let pattern = |text| Section::read(text, 1).expect("a section").pattern();
        assert_eq!(
            pattern("a.o:(.text._RNvXs_NtCsgEmfK2I1SDS_4core3fmtNtCs8EmfK_3std2eq.4731)"),
            "*(.text._RNvXs_NtCs*_4core3fmtNtCs*_3std2eq*)"
        );
        assert_eq!(
            pattern("a.o:(.text._RINvMs0_NtCsgEmfKCsSDS_5alloc3vecINtB5_3VecNtNtBb_6borrow3CowEEB1x_)"),
            "*(.text._RINvMs0_NtCs*_5alloc3vecINtB*_3VecNtNtB*_6borrow3CowEEB*_)"
        );
        assert_eq!(
            pattern("a.o:(.text._RINvNtCsgEmfKCsSDS_4core3ptr13drop_in_placehECs8EmfK_10async_nats)"),
            "*(.text._RINvNtCs*_4core3ptr13drop_in_placehECs*)"
        );
        assert_eq!(
            pattern("d/libblake3-93501b00ce68b0c9.rlib(d05f1b2a3c4e5f60-x86-64_unix.o):(.text)"),
            "*libblake3-*.rlib:*-x86-64_unix.o(.text)"
        );
        assert_eq!(pattern("/usr/lib/crtbeginT.o:(.text)"), "*crtbeginT.o(.text)");
        assert_eq!(pattern("a.o:(.text.main)"), "*(.text.main)");
    }
}
