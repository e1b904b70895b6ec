//! The interfaces of `../wit`, made into traits for us to implement. Generated: nothing is decided here, but what
//! stands behind a resource, and which functions may end a guest.

wasmtime::component::bindgen!({
    world: "wrun:spin/host",
    path: "src/workload/wasm/spin/wit",
    imports: {
        "spin:key-value/key-value@3.0.0.[method]store.get-keys": trappable,
        "spin:mysql/mysql@3.0.0.[method]connection.query": trappable,
        "spin:postgres/postgres@4.2.0.[method]connection.query-async": trappable,
        "spin:sqlite/sqlite@3.1.0.[method]connection.execute-async": trappable,
        "spin:sqlite/sqlite@3.1.0.[method]connection.last-insert-rowid": async | trappable,
        "spin:sqlite/sqlite@3.1.0.[method]connection.last-insert-rowid-async": trappable,
        "spin:sqlite/sqlite@3.1.0.[method]connection.changes": async | trappable,
        "spin:sqlite/sqlite@3.1.0.[method]connection.changes-async": trappable,
        "spin:postgres/postgres@4.2.0.[constructor]connection-builder": async | trappable,
        default: async,
    },
    with: {
        "fermyon:spin/key-value@2.0.0.store": super::key_value::Store,
        "spin:key-value/key-value@3.0.0.store": super::key_value::Store,
        "wasi:keyvalue/store@0.2.0-draft2.bucket": super::key_value::Store,
        "wasi:keyvalue/atomics@0.2.0-draft2.cas": super::key_value::Cas,
        "fermyon:spin/sqlite@2.0.0.connection": super::sqlite::Database,
        "spin:sqlite/sqlite@3.1.0.connection": super::sqlite::Database,
        "fermyon:spin/redis@2.0.0.connection": super::redis::Connection,
        "spin:redis/redis@3.0.0.connection": super::redis::Connection,
        "fermyon:spin/mqtt@2.0.0.connection": super::mqtt::Connection,
        "spin:mqtt/mqtt@3.0.0.connection": super::mqtt::Connection,
        "fermyon:spin/postgres@2.0.0.connection": super::postgres::Connection,
        "spin:postgres/postgres@3.0.0.connection": super::postgres::Connection,
        "spin:postgres/postgres@4.2.0.connection": super::postgres::Connection,
        "spin:postgres/postgres@4.2.0.connection-builder": super::postgres::Builder,
        "fermyon:spin/mysql@2.0.0.connection": super::mysql::Connection,
        "spin:mysql/mysql@3.0.0.connection": super::mysql::Connection,
    },
});
