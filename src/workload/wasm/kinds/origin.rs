//! What an import belongs to that nothing here provides, as far as the field knows it: a guest was often built
//! for another host, and its author is helped most by that host's name.

use super::shape::{Import, Item};
use crate::workload::wasm::sockets;

/// How a row matches a module's name.
enum Of {
    /// The whole name.
    Is(&'static str),
    Starts(&'static str),
}

/// Core modules, by the module's name alone; the first match counts.
const BY_MODULE: [(Of, &str); 48] = [
    (Of::Is("wasi"), "wasi-threads, which Wasmtime 48 no longer has"),
    (
        Of::Starts("wasi_ephemeral_nn"),
        "wasi-nn, a proposal for machine learning; WasmEdge and the wasmtime command have it",
    ),
    (
        Of::Is("wasi_nn"),
        "wasi-nn, a proposal for machine learning; WasmEdge and the wasmtime command have it",
    ),
    (
        Of::Starts("wasi_ephemeral_crypto"),
        "wasi-crypto, a proposal that only WasmEdge's plugin provides",
    ),
    (
        Of::Starts("wasi_experimental_http"),
        "an early HTTP client for wasmtime and Krustlet; use wasi:http",
    ),
    (
        Of::Starts("wasi_ephemeral_"),
        "a snapshot of WASI before preview 1",
    ),
    (Of::Starts("wasix_"), "WASIX, which only Wasmer provides"),
    (
        Of::Is("wasmedge_httpsreq"),
        "WasmEdge's plugin for HTTPS requests",
    ),
    (
        Of::Is("wasmedge_process"),
        "WasmEdge's plugin that starts native processes",
    ),
    (
        Of::Starts("wasmedge_tensorflow"),
        "WasmEdge's plugin for TensorFlow",
    ),
    (Of::Starts("wasmedge_"), "a plugin of WasmEdge"),
    (Of::Is("wasi:logging/logging"), "WasmEdge's plugin for logging"),
    (Of::Is("wasm_bpf"), "wasm-bpf, for eBPF programs"),
    (
        Of::Is("wapc"),
        "waPC: an actor or policy for a host that calls it, such as wasmCloud's or Kubewarden's",
    ),
    (Of::Starts("extism:"), "Extism: a plugin that a host calls"),
    (Of::Starts("fastly_"), "Fastly Compute"),
    (Of::Starts("cloudflare:"), "Cloudflare Workers"),
    (Of::Is("gojs"), "Go for JavaScript; build it with GOOS=wasip1"),
    (Of::Is("go"), "Go for JavaScript; build it with GOOS=wasip1"),
    (
        Of::Is("wbg"),
        "wasm-bindgen, for a JavaScript host; build for wasm32-wasip1 or wasm32-wasip2 without it",
    ),
    (
        Of::Starts("__wbindgen"),
        "wasm-bindgen, for a JavaScript host; build for wasm32-wasip1 or wasm32-wasip2 without it",
    ),
    (
        Of::Starts("./"),
        "a JavaScript module, made for a JavaScript host",
    ),
    (Of::Is("js_code"), "Kotlin for JavaScript; build it for wasmWasi"),
    (Of::Is("dart2wasm"), "Dart for JavaScript"),
    (Of::Starts("teavm"), "TeaVM for JavaScript"),
    (Of::Is("~lib"), "AssemblyScript's runtime"),
    (Of::Starts("lunatic::"), "Lunatic, a host for actors"),
    (Of::Starts("spin"), "Spin, through its SDK before components"),
    (Of::Starts("fermyon"), "Spin, through its SDK before components"),
    (
        Of::Is("wasi-outbound-http"),
        "Spin, through its SDK before components",
    ),
    (Of::Starts("outbound-"), "Spin, through its SDK before components"),
    (Of::Is("key-value"), "Spin, through its SDK before components"),
    (Of::Is("sqlite"), "Spin, through its SDK before components"),
    (Of::Is("llm"), "Spin, through its SDK before components"),
    (Of::Is("http-server"), "SpiderLightning (slight)"),
    (Of::Is("http-client"), "SpiderLightning (slight)"),
    (Of::Is("keyvalue"), "SpiderLightning (slight)"),
    (Of::Is("kv"), "SpiderLightning (slight)"),
    (Of::Is("messaging"), "SpiderLightning (slight)"),
    (Of::Is("mq"), "SpiderLightning (slight)"),
    (Of::Is("configs"), "SpiderLightning (slight)"),
    (Of::Is("distributed-locking"), "SpiderLightning (slight)"),
    (Of::Is("sql"), "SpiderLightning (slight)"),
    (
        Of::Is("canonical_abi"),
        "SpiderLightning (slight) or Spin, through wit-bindgen before components",
    ),
    (Of::Starts("GOT."), DYNAMIC),
    (
        Of::Is("a"),
        "Emscripten with shortened names, for a JavaScript host; link it with -sSTANDALONE_WASM",
    ),
    (Of::Is("spectest"), "the test suite of the specification"),
    (Of::Is("asyncify"), "Asyncify, for a JavaScript host"),
];

const DYNAMIC: &str = "a dynamic library, or a program linked to one; link it statically";
const EMSCRIPTEN: &str =
    "Emscripten, for a JavaScript host; link it with -sSTANDALONE_WASM or build it with wasi-sdk";
const ASSEMBLY_SCRIPT: &str = "AssemblyScript; build it with the WASI shim";
const CORE_OF_COMPONENT: &str =
    "an interface of components: this is the core of one; make it with `wasm-tools component new`";

/// Names in `env`, which every toolchain uses; the first match counts.
const IN_ENV: [(Of, &str); 21] = [
    (
        Of::Is("abort"),
        "AssemblyScript, which takes `--use abort=` to go without, or Emscripten",
    ),
    (Of::Is("seed"), ASSEMBLY_SCRIPT),
    (Of::Is("trace"), ASSEMBLY_SCRIPT),
    (Of::Starts("emscripten_"), EMSCRIPTEN),
    (Of::Starts("_emscripten_"), EMSCRIPTEN),
    (Of::Starts("__syscall"), EMSCRIPTEN),
    (Of::Starts("invoke_"), EMSCRIPTEN),
    (Of::Starts("_embind_"), EMSCRIPTEN),
    (
        Of::Starts("__cxa_"),
        "C++ exceptions; build it with -fno-exceptions or -fwasm-exceptions",
    ),
    (
        Of::Is("_Unwind_RaiseException"),
        "C++ exceptions; build it with -fno-exceptions or -fwasm-exceptions",
    ),
    (Of::Is("setTempRet0"), EMSCRIPTEN),
    (Of::Is("getTempRet0"), EMSCRIPTEN),
    (Of::Is("__memory_base"), DYNAMIC),
    (Of::Is("__table_base"), DYNAMIC),
    (Of::Is("__stack_pointer"), DYNAMIC),
    (Of::Is("__indirect_function_table"), DYNAMIC),
    (
        Of::Starts("proxy_"),
        "proxy-wasm: a filter for a proxy such as Envoy",
    ),
    (Of::Starts("extism_"), "Extism: a plugin that a host calls"),
    (Of::Starts("wasmedge_"), "a plugin of WasmEdge"),
    (Of::Starts("js_"), "a JavaScript host"),
    (Of::Starts("ext_"), "the host of a blockchain"),
];

/// Packages of components; the first match counts.
const BY_PACKAGE: [(Of, &str); 26] = [
    (
        Of::Is("wasi:http"),
        "no interface of wasi:http that a guest may import",
    ),
    (
        Of::Is("wasi:nn"),
        "wasi-nn, a proposal for machine learning that wrun does not provide",
    ),
    (Of::Is("wasi:keyvalue"), DRAFT),
    (Of::Is("wasi:config"), DRAFT),
    (Of::Is("wasi:runtime-config"), DRAFT),
    (Of::Is("wasi:logging"), DRAFT),
    (Of::Is("wasi:messaging"), DRAFT),
    (Of::Is("wasi:blobstore"), DRAFT),
    (Of::Is("wasi:tls"), DRAFT),
    (Of::Is("wasi:sql"), DRAFT),
    (Of::Is("wasi:crypto"), DRAFT),
    (Of::Is("wasi:threads"), DRAFT),
    (Of::Is("wasi:webgpu"), DRAFT),
    (Of::Is("wasi:graphics-context"), DRAFT),
    (Of::Is("wasi:i2c"), DRAFT),
    (Of::Is("wasi:observe"), DRAFT),
    (Of::Is("wasi:otel"), DRAFT),
    (Of::Is("wasi:preview"), "a snapshot of WASI before 0.2"),
    (Of::Starts("fermyon:"), "Spin"),
    (Of::Starts("spin:"), "Spin"),
    (Of::Starts("wasmcloud:"), "wasmCloud"),
    (Of::Starts("wasmbus:"), "wasmCloud"),
    (Of::Starts("fastly:"), "Fastly Compute"),
    (Of::Starts("golem:"), "Golem Cloud"),
    (Of::Starts("wasmedge:"), "WasmEdge"),
    (Of::Starts("wasix:"), "WASIX, which only Wasmer provides"),
];

const DRAFT: &str = "a WASI proposal, no part of WASI 0.2 or 0.3, that wrun does not provide";

impl Of {
    fn matches(&self, name: &str) -> bool {
        match self {
            Self::Is(whole) => name == *whole,
            Self::Starts(start) => name.starts_with(start),
        }
    }
}

fn find(table: &[(Of, &'static str)], name: &str) -> Option<&'static str> {
    let row = table.iter().find(|(of, _)| of.matches(name));
    row.map(|(_, origin)| *origin)
}

/// What an import that is not provided belongs to.
pub fn origin(import: &Import) -> Option<String> {
    match &import.module {
        Some(module) if module == "wasi_snapshot_preview1" => sockets::described(&import.name)
            .or_else(|| core(module, &import.name, &import.item).map(str::to_owned)),
        Some(module) => core(module, &import.name, &import.item).map(str::to_owned),
        None => component(&import.name),
    }
}

fn core(module: &str, name: &str, item: &Item) -> Option<&'static str> {
    match module {
        "wasi_snapshot_preview1" if name.starts_with("sock_") => {
            Some("a socket function that neither preview 1 nor WasmEdge has")
        }
        "wasi_snapshot_preview1" | "wasi_unstable" => Some("no function of WASI preview 1"),
        "env" => Some(match item {
            Item::Other(what) if what.starts_with("memory") && what.ends_with("shared") => {
                "the shared memory of wasi-threads, which Wasmtime 48 no longer has"
            }
            Item::Other(what) if what.starts_with("memory") => {
                "a module that wants its memory from the host; link it without --import-memory"
            }
            _ => find(&IN_ENV, name).unwrap_or("a symbol left undefined when it was linked, or Emscripten"),
        }),
        "Date" | "Math" | "console" | "performance" | "Reflect" => {
            Some("a JavaScript host, perhaps by AssemblyScript")
        }
        _ => find(&BY_MODULE, module).or_else(|| {
            let interface = module.contains(':') && module.contains('/');
            let core = interface
                || module == "$root"
                || module.starts_with("cm32p2")
                || module.starts_with("[export]");
            core.then_some(CORE_OF_COMPONENT)
        }),
    }
}

fn component(name: &str) -> Option<String> {
    let (interface, version) = name.split_once('@').unwrap_or((name, ""));
    let package = interface
        .split_once('/')
        .map_or(interface, |(package, _)| package);
    // Drafts have the versions of candidates all their lives; those of wasi:http became part of WASI 0.2 and 0.3.
    let candidate = package == "wasi:http" && version.contains('-');
    if let Some(origin) = find(&BY_PACKAGE, package).filter(|_| !candidate) {
        return Some(origin.to_owned());
    }
    if !package.starts_with("wasi:") {
        return None;
    }
    Some(match version.split_once('-') {
        Some((release, _)) if release.starts_with("0.2.") || release.starts_with("0.3.") => format!(
            "a release candidate of WASI {}, which no release is compatible with; build it anew with current tools",
            &release[..3]
        ),
        _ if version.starts_with("0.2.") || version.starts_with("0.3.") => {
            format!("no interface of WASI {}", &version[..3])
        }
        _ => "neither WASI 0.2 nor 0.3".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(module: Option<&str>, name: &str) -> String {
        with(
            module,
            name,
            Item::Function(super::super::shape::Signature::default()),
        )
    }

    fn with(module: Option<&str>, name: &str, item: Item) -> String {
        let import = Import {
            module: module.map(str::to_owned),
            name: name.to_owned(),
            item,
        };
        origin(&import).unwrap_or_default()
    }

    #[test]
    fn hosts_of_core_modules_are_known() {
        for (module, name, host) in [
            ("wasi", "thread-spawn", "wasi-threads"),
            (
                "wasi_snapshot_preview1",
                "sock_open",
                "another type: 3 parameters",
            ),
            (
                "wasi_snapshot_preview1",
                "sock_invented",
                "neither preview 1 nor WasmEdge",
            ),
            ("wasi_snapshot_preview1", "fd_teleport", "no function"),
            ("wasi_ephemeral_nn", "load", "wasi-nn"),
            ("wasi_ephemeral_crypto_signatures", "x", "wasi-crypto"),
            ("wasix_32v1", "fd_pipe", "WASIX"),
            ("wasmedge_httpsreq", "wasmedge_httpsreq_send_data", "HTTPS"),
            ("wasmedge_process", "wasmedge_process_run", "native processes"),
            ("wasmedge_tensorflowlite", "create_session", "TensorFlow"),
            ("wasmedge_ffmpeg", "x", "plugin of WasmEdge"),
            ("env", "proxy_log", "proxy-wasm"),
            ("wapc", "__host_call", "waPC"),
            ("extism:host/env", "alloc", "Extism"),
            ("fastly_http_req", "new", "Fastly"),
            ("cloudflare:workers", "x", "Cloudflare"),
            ("env", "abort", "AssemblyScript"),
            ("gojs", "runtime.wasmExit", "GOOS=wasip1"),
            ("wbg", "__wbindgen_throw", "wasm-bindgen"),
            ("./index_bg.js", "__wbg_x", "JavaScript"),
            ("spin-config", "get-config", "Spin"),
            ("wasi-outbound-http", "request", "Spin"),
            ("http-server", "router::new", "slight"),
            ("keyvalue", "keyvalue::open", "slight"),
            ("canonical_abi", "resource_drop_router", "slight"),
            ("wasi_experimental_http", "req", "Krustlet"),
            ("lunatic::process", "spawn", "Lunatic"),
            ("env", "emscripten_resize_heap", "-sSTANDALONE_WASM"),
            ("env", "invoke_vii", "Emscripten"),
            ("env", "__cxa_throw", "exceptions"),
            ("GOT.mem", "x", "dynamic"),
            ("env", "my_function", "undefined"),
            (
                "wasi:io/streams@0.2.0",
                "[resource-drop]output-stream",
                "component new",
            ),
            ("$root", "f", "component new"),
        ] {
            let origin = of(Some(module), name);
            assert!(origin.contains(host), "{module}.{name}: {origin}");
        }
        assert_eq!(of(Some("example"), "f"), "");
    }

    #[test]
    fn memories_of_threads_are_told_from_others() {
        let memory = |text: &str| with(Some("env"), "memory", Item::Other(text.to_owned()));
        assert!(memory("memory of 1 to 2 pages, shared").contains("wasi-threads"));
        assert!(memory("memory of 1 to 2 pages").contains("--import-memory"));
    }

    #[test]
    fn packages_of_components_are_known() {
        for (name, host) in [
            ("wasi:nn/graph@0.2.0-rc-2024-10-28", "wasi-nn"),
            ("wasi:keyvalue/store@0.2.0-draft2", "proposal"),
            ("wasi:config/store@0.2.0-rc.1", "proposal"),
            ("wasi:logging/logging", "proposal"),
            ("wasi:messaging/consumer@0.2.0-draft", "proposal"),
            ("wasi:blobstore/container@0.2.0-draft", "proposal"),
            ("wasi:tls/types@0.2.0-draft", "proposal"),
            ("wasi:sql/readwrite@0.2.0-draft", "proposal"),
            ("fermyon:spin/key-value@2.0.0", "Spin"),
            ("wasmcloud:bus/lattice@1.0.0", "wasmCloud"),
            (
                "wasi:cli/environment@0.2.0-rc-2023-11-10",
                "release candidate of WASI 0.2",
            ),
            (
                "wasi:clocks/monotonic-clock@0.3.0-rc-2025-08-15",
                "release candidate of WASI 0.3",
            ),
            (
                "wasi:http/types@0.2.0-rc-2023-12-05",
                "release candidate of WASI 0.2",
            ),
            ("wasi:http/incoming-handler@0.2.0", "that a guest may import"),
            ("wasi:cli/telepathy@0.2.0", "no interface of WASI 0.2"),
            ("wasi:poll/poll", "neither"),
        ] {
            let origin = of(None, name);
            assert!(origin.contains(host), "{name}: {origin}");
        }
        assert_eq!(of(None, "example:rockets/launch@1.0.0"), "");
    }
}
