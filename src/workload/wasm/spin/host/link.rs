//! Which interfaces there are. Linking one costs time at each start, so only those that a component imports are
//! linked.

use wasmtime::component::Linker;

use super::bindings::{fermyon, spin, wasi};
use super::{Spin, SpinView};

/// An interface that a component may import.
pub struct Interface<T: 'static> {
    /// With its version, where it has one.
    pub name: &'static str,
    pub add: fn(&mut Linker<T>) -> wasmtime::Result<()>,
}

// Not derived, since that would ask the same of the host.
impl<T> Copy for Interface<T> {}

impl<T> Clone for Interface<T> {
    fn clone(&self) -> Self {
        *self
    }
}

/// Every interface.
pub fn interfaces<T: SpinView + 'static>() -> [Interface<T>; 30] {
    macro_rules! interface {
        ($name:literal, $($module:ident)::+) => {
            Interface {
                name: $name,
                add: |linker| $($module)::+::add_to_linker::<_, Spin>(linker, T::spin),
            }
        };
    }
    [
        interface!("fermyon:spin/config", fermyon::spin::config),
        interface!("fermyon:spin/http-types", fermyon::spin::http_types),
        interface!("fermyon:spin/http", fermyon::spin::http),
        interface!("fermyon:spin/key-value", fermyon::spin::key_value),
        interface!("fermyon:spin/rdbms-types", fermyon::spin::rdbms_types),
        interface!("fermyon:spin/mysql", fermyon::spin::mysql),
        interface!("fermyon:spin/postgres", fermyon::spin::postgres),
        interface!("fermyon:spin/redis-types", fermyon::spin::redis_types),
        interface!("fermyon:spin/redis", fermyon::spin::redis),
        interface!("fermyon:spin/sqlite", fermyon::spin::sqlite),
        interface!("fermyon:spin/key-value@2.0.0", fermyon::spin2_0_0::key_value),
        interface!("fermyon:spin/mqtt@2.0.0", fermyon::spin2_0_0::mqtt),
        interface!("fermyon:spin/rdbms-types@2.0.0", fermyon::spin2_0_0::rdbms_types),
        interface!("fermyon:spin/mysql@2.0.0", fermyon::spin2_0_0::mysql),
        interface!("fermyon:spin/postgres@2.0.0", fermyon::spin2_0_0::postgres),
        interface!("fermyon:spin/redis@2.0.0", fermyon::spin2_0_0::redis),
        interface!("fermyon:spin/sqlite@2.0.0", fermyon::spin2_0_0::sqlite),
        interface!("fermyon:spin/variables@2.0.0", fermyon::spin2_0_0::variables),
        interface!("spin:key-value/key-value@3.0.0", spin::key_value::key_value),
        interface!("spin:mqtt/mqtt@3.0.0", spin::mqtt::mqtt),
        interface!("spin:mysql/mysql@3.0.0", spin::mysql::mysql),
        interface!("spin:postgres/postgres@3.0.0", spin::postgres3_0_0::postgres),
        interface!("spin:postgres/postgres@4.2.0", spin::postgres4_2_0::postgres),
        interface!("spin:redis/redis@3.0.0", spin::redis::redis),
        interface!("spin:sqlite/sqlite@3.1.0", spin::sqlite::sqlite),
        interface!("spin:variables/variables@3.0.0", spin::variables::variables),
        interface!("wasi:config/store@0.2.0-draft-2024-09-27", wasi::config::store),
        interface!("wasi:keyvalue/store@0.2.0-draft2", wasi::keyvalue::store),
        interface!("wasi:keyvalue/batch@0.2.0-draft2", wasi::keyvalue::batch),
        interface!("wasi:keyvalue/atomics@0.2.0-draft2", wasi::keyvalue::atomics),
    ]
}

/// What provides an import, by its name. Within a major version an older one is provided by the newer, as the
/// engine links them.
pub fn find<T: SpinView + 'static>(import: &str) -> Option<Interface<T>> {
    let all = interfaces();
    all.into_iter().find(|interface| provides(interface.name, import))
}

fn provides(provided: &str, import: &str) -> bool {
    provided == import
        || match (major(provided), major(import)) {
            (Some(ours), Some(theirs)) => ours == theirs,
            _ => false,
        }
}

/// Name and major version, where versions of it are compatible.
fn major(name: &str) -> Option<(&str, &str)> {
    let (name, version) = name.split_once('@')?;
    let major = version.split('.').next()?;
    (major != "0" && !version.contains('-')).then_some((name, major))
}

/// Why an interface that Spin has is not here.
pub fn unsupported(import: &str) -> Option<&'static str> {
    let (name, _) = import.split_once('@').unwrap_or((import, ""));
    match name {
        "fermyon:spin/llm" => Some("there are no models here"),
        name if name.starts_with("wasi:otel/") => Some("there is nobody who takes traces, metrics and logs"),
        name if name.starts_with("fermyon:spin/") || name.starts_with("spin:") => {
            Some("this version of the interface is not known")
        }
        name if name.starts_with("wasi:keyvalue/") || name.starts_with("wasi:config/") => {
            Some("this version of the interface is not known")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use wasmtime::component::ResourceTable;
    use wasmtime::{Config, Engine};

    use super::*;
    use crate::workload::wasm::spin::host::{SpinCtx, SpinCtxView};

    struct Host {
        ctx: SpinCtx,
        table: ResourceTable,
    }

    impl SpinView for Host {
        fn spin(&mut self) -> SpinCtxView<'_> {
            SpinCtxView {
                ctx: &mut self.ctx,
                table: &mut self.table,
            }
        }
    }

    #[test]
    fn every_interface_can_be_linked_beside_all_others() {
        let mut config = Config::new();
        config.wasm_component_model_async(true);
        let engine = Engine::new(&config).expect("an engine");
        let mut linker = Linker::<Host>::new(&engine);
        for interface in interfaces() {
            (interface.add)(&mut linker).unwrap_or_else(|error| panic!("{}: {error}", interface.name));
        }
    }

    #[test]
    fn imports_find_what_provides_them() {
        let name = |import| find::<Host>(import).map(|interface| interface.name);
        assert_eq!(name("fermyon:spin/key-value"), Some("fermyon:spin/key-value"));
        assert_eq!(
            name("fermyon:spin/key-value@2.0.0"),
            Some("fermyon:spin/key-value@2.0.0")
        );
        assert_eq!(
            name("spin:postgres/postgres@4.0.0"),
            Some("spin:postgres/postgres@4.2.0")
        );
        assert_eq!(
            name("spin:postgres/postgres@3.0.0"),
            Some("spin:postgres/postgres@3.0.0")
        );
        assert_eq!(name("spin:sqlite/sqlite@3.0.0"), Some("spin:sqlite/sqlite@3.1.0"));
        assert_eq!(
            name("wasi:keyvalue/store@0.2.0-draft2"),
            Some("wasi:keyvalue/store@0.2.0-draft2")
        );
        for unknown in [
            "fermyon:spin/llm@2.0.0",
            "fermyon:spin/key-value@3.0.0",
            "wasi:keyvalue/store@0.2.0-draft",
        ] {
            assert_eq!(name(unknown), None);
            assert!(unsupported(unknown).is_some(), "{unknown}");
        }
        assert_eq!(unsupported("wasi:cli/environment@0.2.0"), None);
    }
}
