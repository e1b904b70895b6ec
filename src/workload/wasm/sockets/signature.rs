//! The extension's functions, and which of them an import means.
//!
//! Eleven names exist twice: as WasmEdge had them first (V1), and as they became later (V2, also under the name
//! with `_v2`). The plain name means V1; where the import's type does not fit that one, V2.

use wasmtime::{Engine, ExternType, FuncType, ImportType, Module, ValType};

use super::standard::{Shared, Stock};
use super::{Body, PREVIEW1, connection, describe, lookup, options, transfer};
use crate::workload::wasm::kinds::shape::Signature;

/// One of the functions; its parameters are i32, and so is its result, an errno.
pub struct Function {
    pub name: &'static str,
    pub parameters: usize,
    pub serves: Serves,
}

/// What a function works on.
#[derive(Clone, Copy)]
pub enum Serves {
    /// Sockets alone: preview 1 does not have it.
    Sockets(Body),
    /// Preview 1 has it as well, for descriptors of other kinds.
    All(Shared),
}

impl Function {
    pub fn ty(&self, engine: &Engine) -> FuncType {
        let parameters = std::iter::repeat_n(ValType::I32, self.parameters);
        FuncType::new(engine, parameters, [ValType::I32])
    }

    fn fits(&self, ty: &ExternType) -> bool {
        let is_i32 = |ty: ValType| matches!(ty, ValType::I32);
        match ty {
            ExternType::Func(ty) => {
                ty.params().len() == self.parameters
                    && ty.results().len() == 1
                    && ty.params().chain(ty.results()).all(is_i32)
            }
            _ => false,
        }
    }

    fn named(name: &str) -> Option<&'static Self> {
        FUNCTIONS.iter().find(|function| function.name == name)
    }

    /// Those that an import of this name may mean, in the order of preference.
    fn candidates(name: &str) -> impl Iterator<Item = &'static Self> {
        let later = format!("{name}_v2");
        [Self::named(name), Self::named(&later)].into_iter().flatten()
    }
}

const fn own(name: &'static str, parameters: usize, body: Body) -> Function {
    let serves = Serves::Sockets(body);
    Function {
        name,
        parameters,
        serves,
    }
}

const fn both(name: &'static str, parameters: usize, stock: Stock, body: Body) -> Function {
    all(name, parameters, Shared::ByDescriptor(stock, body))
}

const fn all(name: &'static str, parameters: usize, shared: Shared) -> Function {
    let serves = Serves::All(shared);
    Function {
        name,
        parameters,
        serves,
    }
}

pub const FUNCTIONS: [Function; 35] = [
    own("sock_open", 3, connection::open),
    own("sock_open_v2", 3, connection::open),
    own("sock_bind", 3, connection::bind_v1),
    own("sock_bind_v2", 3, connection::bind_v2),
    own("sock_listen", 2, connection::listen),
    own("sock_listen_v2", 2, connection::listen),
    own("sock_connect", 3, connection::connect_v1),
    own("sock_connect_v2", 3, connection::connect_v2),
    own("sock_accept", 2, connection::accept_v1),
    both("sock_accept_v2", 3, Stock::Accept, connection::accept_v2),
    both("sock_recv", 6, Stock::Recv, transfer::recv),
    both("sock_recv_v2", 6, Stock::Recv, transfer::recv),
    own("sock_recv_from", 7, transfer::recv_from_v1),
    own("sock_recv_from_v2", 8, transfer::recv_from_v2),
    both("sock_send", 5, Stock::Send, transfer::send),
    both("sock_send_v2", 5, Stock::Send, transfer::send),
    own("sock_send_to", 7, transfer::send_to_v1),
    own("sock_send_to_v2", 7, transfer::send_to_v2),
    both("sock_shutdown", 2, Stock::Shutdown, connection::shutdown),
    own("sock_getlocaladdr", 4, connection::local_address_v1),
    own("sock_getlocaladdr_v2", 3, connection::local_address_v2),
    own("sock_getpeeraddr", 4, connection::peer_address_v1),
    own("sock_getpeeraddr_v2", 3, connection::peer_address_v2),
    own("sock_getsockopt", 5, options::get),
    own("sock_setsockopt", 5, options::set),
    own("sock_getaddrinfo", 8, lookup::get_addrinfo),
    both("fd_read", 4, Stock::Read, transfer::read),
    both("fd_write", 4, Stock::Write, transfer::write),
    both("fd_fdstat_get", 2, Stock::Status, describe::status),
    both("fd_fdstat_set_flags", 2, Stock::SetFlags, describe::set_flags),
    both("fd_filestat_get", 2, Stock::FileStatus, describe::file_status),
    all("fd_close", 1, Shared::Close),
    all("fd_renumber", 2, Shared::Renumber),
    all("poll_oneoff", 4, Shared::Poll),
    all("epoll_oneoff", 4, Shared::Poll),
];

/// Functions of preview 1 that a module may import without ever having a socket of the extension's.
const ORDINARY: [(&str, usize); 4] = [
    ("sock_accept", 3),
    ("sock_recv", 6),
    ("sock_send", 5),
    ("sock_shutdown", 2),
];

/// Whether a module imports anything that only the extension has.
pub fn is_wanted(module: &Module) -> bool {
    module
        .imports()
        .any(|import| import.module() == PREVIEW1 && is_extension(&import))
}

/// Looks at the name first, since an ordinary guest's start waits for this.
fn is_extension(import: &ImportType<'_>) -> bool {
    let name = import.name();
    is_named(name)
        && match import.ty() {
            ExternType::Func(ty) => extends(name, ty.params().len()),
            _ => false,
        }
}

fn is_named(name: &str) -> bool {
    let named = name == "epoll_oneoff" || name.starts_with("sock_");
    named && Function::named(name).is_some()
}

/// Whether a function of this name and with so many parameters is one that preview 1 does not have.
pub fn extends(name: &str, parameters: usize) -> bool {
    is_named(name) && !ORDINARY.contains(&(name, parameters))
}

/// Whether a function of this name has the type that an import asks for.
pub fn provides(name: &str, signature: &Signature) -> bool {
    let mut types = signature
        .params
        .iter()
        .map(|(_, ty)| ty)
        .chain(&signature.results);
    types.all(|ty| ty == "i32")
        && signature.results.len() == 1
        && Function::candidates(name).any(|function| function.parameters == signature.params.len())
}

/// The name under which the linker has what an import means; `None` where its type fits no function of its
/// name.
pub fn provided_name<'m>(import: &ImportType<'m>) -> Option<&'m str> {
    if import.module() != PREVIEW1 || Function::named(import.name()).is_none() {
        return Some(import.name());
    }
    let ty = import.ty();
    Function::candidates(import.name())
        .find(|function| function.fits(&ty))
        .map(|function| function.name)
}

/// What is to be said of a function of preview 1's that is not provided: the types that it may have, where its
/// name is known.
pub fn described(name: &str) -> Option<String> {
    let mut counts: Vec<usize> = Function::candidates(name)
        .map(|function| function.parameters)
        .collect();
    counts.dedup();
    let counts: Vec<String> = counts.iter().map(usize::to_string).collect();
    let text = counts.join(" or ");
    let of_preview1 = !name.starts_with("sock_") && name != "epoll_oneoff";
    let owner = if of_preview1 {
        "preview 1"
    } else {
        "WasmEdge's socket extension"
    };
    (!text.is_empty()).then(|| {
        format!("{owner} has it with another type: {text} parameters of type i32, and an i32 as its result")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(imports: &[(&str, usize)]) -> Module {
        let imports: String = imports
            .iter()
            .map(|(name, parameters)| {
                let parameters = "i32 ".repeat(*parameters);
                format!("(import \"{PREVIEW1}\" \"{name}\" (func (param {parameters}) (result i32)))")
            })
            .collect();
        Module::new(&Engine::default(), format!("(module {imports})")).expect("a module")
    }

    fn names(module: &Module) -> Vec<Option<&str>> {
        module.imports().map(|import| provided_name(&import)).collect()
    }

    #[test]
    fn names_are_there_once() {
        for function in &FUNCTIONS {
            assert!(function.parameters <= 8, "{}", function.name);
            let same = FUNCTIONS.iter().filter(|other| other.name == function.name);
            assert_eq!(same.count(), 1, "{}", function.name);
        }
        let later = FUNCTIONS.iter().filter(|function| function.name.ends_with("_v2"));
        assert_eq!(later.count(), 11);
    }

    #[test]
    fn the_type_chooses_the_version() {
        let module = module(&[
            ("sock_accept", 2),
            ("sock_accept", 3),
            ("sock_recv_from", 7),
            ("sock_recv_from", 8),
            ("sock_getlocaladdr", 4),
            ("sock_getlocaladdr", 3),
            ("sock_bind", 3),
            ("sock_bind_v2", 3),
            ("sock_accept_v2", 3),
            ("fd_sync", 1),
        ]);
        let expected = [
            "sock_accept",
            "sock_accept_v2",
            "sock_recv_from",
            "sock_recv_from_v2",
            "sock_getlocaladdr",
            "sock_getlocaladdr_v2",
            "sock_bind",
            "sock_bind_v2",
            "sock_accept_v2",
            "fd_sync",
        ];
        assert_eq!(names(&module), expected.map(Some));
    }

    #[test]
    fn types_that_fit_neither_are_told_apart() {
        let module = module(&[("sock_accept", 4), ("sock_open", 2), ("sock_accept_v2", 2)]);
        assert_eq!(names(&module), [None; 3]);
        let texts: Vec<_> = module
            .imports()
            .filter_map(|import| described(import.name()))
            .collect();
        assert!(texts[0].contains("2 or 3 parameters"), "{}", texts[0]);
        assert!(texts[1].contains("3 parameters"), "{}", texts[1]);
        assert!(texts[2].contains("3 parameters"), "{}", texts[2]);
    }

    #[test]
    fn ordinary_guests_do_not_want_it() {
        let ordinary = [
            ("fd_write", 4),
            ("poll_oneoff", 4),
            ("sock_accept", 3),
            ("sock_recv", 6),
            ("sock_send", 5),
            ("sock_shutdown", 2),
            ("sock_invented", 1),
        ];
        assert!(!is_wanted(&module(&ordinary)));
        for one in [
            ("sock_open", 3),
            ("sock_accept", 2),
            ("sock_accept", 4),
            ("epoll_oneoff", 4),
        ] {
            assert!(is_wanted(&module(&[one])), "{one:?}");
        }
    }
}
