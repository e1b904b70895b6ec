//! What a module may import: functions of the interfaces, WASI preview 1, and what gives resources back.
//!
//! Linking costs time for each instance's module at the start, so only what it imports is linked.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use wasmtime::{Caller, Engine, Linker, Module};

use super::host::Host;
use super::{configs, http, http_client, keyvalue, messaging};
use crate::workload::wasm::kinds::core;

/// An interface, in one of its generations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Interface {
    HttpServer,
    /// The same by its older name.
    Http,
    HttpClient,
    KeyValue,
    /// The same by its older names, with one error for all that can go wrong.
    Kv,
    Messaging,
    Configs,
}

const ALL: [Interface; 7] = [
    Interface::HttpServer,
    Interface::Http,
    Interface::HttpClient,
    Interface::KeyValue,
    Interface::Kv,
    Interface::Messaging,
    Interface::Configs,
];

impl Interface {
    /// The name of the module that its functions are imported from.
    const fn module(self) -> &'static str {
        match self {
            Self::HttpServer => "http-server",
            Self::Http => "http",
            Self::HttpClient => "http-client",
            Self::KeyValue => "keyvalue",
            Self::Kv => "kv",
            Self::Messaging => "messaging",
            Self::Configs => "configs",
        }
    }

    /// The kind of the slightfile's resources that grant it.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::HttpServer | Self::Http => "http",
            Self::HttpClient => "http-client",
            Self::KeyValue | Self::Kv => "keyvalue",
            Self::Messaging => "messaging",
            Self::Configs => "configs",
        }
    }

    const fn functions(self) -> &'static [&'static str] {
        match self {
            Self::HttpServer | Self::Http => &[
                "router::new",
                "router::new-with-base",
                "router::get",
                "router::put",
                "router::post",
                "router::delete",
                "server::serve",
                "server::stop",
            ],
            Self::HttpClient => &["request"],
            Self::KeyValue => &[
                "keyvalue::open",
                "keyvalue::get",
                "keyvalue::set",
                "keyvalue::keys",
                "keyvalue::delete",
            ],
            Self::Kv => &["kv::open", "kv::get", "kv::set", "kv::keys", "kv::delete"],
            Self::Messaging => &[
                "pub::open",
                "pub::publish",
                "sub::open",
                "sub::subscribe",
                "sub::receive",
            ],
            Self::Configs => &["configs::open", "configs::get", "configs::set"],
        }
    }

    fn link(self, linker: &mut Linker<Host>) -> wasmtime::Result<()> {
        match self {
            Self::HttpServer | Self::Http => http::link(linker, self.module()),
            Self::HttpClient => http_client::link(linker),
            Self::KeyValue | Self::Kv => keyvalue::link(linker, self),
            Self::Messaging => messaging::link(linker),
            Self::Configs => configs::link(linker),
        }
    }

    fn of(module: &str) -> Option<Self> {
        ALL.into_iter().find(|interface| interface.module() == module)
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())
    }
}

/// Where resources are given back.
const CANONICAL: &str = "canonical_abi";
const DROP: &str = "resource_drop_";
const CLONE: &str = "resource_clone_";
const RESOURCES: [&str; 7] = ["router", "server", "keyvalue", "kv", "pub", "sub", "configs"];

/// Whether a function can be imported, but for its type.
pub fn provides(module: &str, name: &str) -> bool {
    if module == CANONICAL {
        let resource = name.strip_prefix(DROP).or_else(|| name.strip_prefix(CLONE));
        return resource.is_some_and(|resource| RESOURCES.contains(&resource));
    }
    core::is_preview_1(module, name)
        || Interface::of(module).is_some_and(|interface| interface.functions().contains(&name))
}

/// The interfaces that functions are imported of.
pub fn interfaces(module: &Module) -> BTreeSet<Interface> {
    let imports = module.imports();
    imports
        .filter_map(|import| Interface::of(import.module()))
        .collect()
}

pub fn link(engine: &Engine, module: &Module) -> wasmtime::Result<Linker<Host>> {
    let mut linker = Linker::new(engine);
    core::link_preview_1(&mut linker, module, Host::wasi)?;
    for interface in interfaces(module) {
        interface.link(&mut linker)?;
    }
    let names: BTreeSet<&str> = module
        .imports()
        .filter(|import| import.module() == CANONICAL)
        .map(|import| import.name())
        .collect();
    for name in names {
        if name.starts_with(DROP) {
            linker.func_wrap(
                CANONICAL,
                name,
                |mut caller: Caller<'_, Host>, handle: u32| -> wasmtime::Result<()> {
                    caller.data_mut().handles.remove(handle).map(drop)
                },
            )?;
        } else {
            linker.func_wrap(
                CANONICAL,
                name,
                |mut caller: Caller<'_, Host>, handle: u32| -> wasmtime::Result<u32> {
                    let handles = &mut caller.data_mut().handles;
                    let thing = handles.get(handle)?.clone();
                    handles.insert(thing)
                },
            )?;
        }
    }
    Ok(linker)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A module that imports each function as it is linked.
    #[test]
    fn what_is_called_provided_is_what_is_linked() {
        let engine = Engine::default();
        for interface in ALL {
            let mut linker = Linker::new(&engine);
            interface.link(&mut linker).expect("linked");
            let text: String = interface
                .functions()
                .iter()
                .map(|name| format!("(import \"{}\" \"{name}\" (func))", interface.module()))
                .collect();
            let module = Module::new(&engine, format!("(module {text})")).expect("a module");
            for import in module.imports() {
                assert!(provides(import.module(), import.name()), "{}", import.name());
                // Of another type, so it is there.
                let error = linker.instantiate_pre(&module).err().expect("of another type");
                assert!(format!("{error:#}").contains("incompatible"), "{error:#}");
            }
            assert_eq!(interfaces(&module), BTreeSet::from([interface]));
        }
        assert!(provides(CANONICAL, "resource_drop_pub") && provides(CANONICAL, "resource_clone_kv"));
        for (module, name) in [
            (CANONICAL, "resource_drop_sql"),
            (CANONICAL, "resource_drop_"),
            ("keyvalue", "kv::open"),
            ("sql", "sql::open"),
            ("env", "fd_write"),
        ] {
            assert!(!provides(module, name), "{module}.{name}");
        }
        assert!(provides("wasi_snapshot_preview1", "fd_write"));
    }
}
