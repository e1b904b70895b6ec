//! Wasm guests in containers: started like any program, given only what the spec gives them, ended like any
//! process. A peer that knows no Wasm cannot pass any of these.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use serde_json::{Value, json};

use crate::harness::bundle::add_mount;
use crate::harness::command::{Running, eventually};
use crate::harness::terminal::{DescriptorSocket, Terminal};
use crate::harness::{Case, Container, Need, Output, Test, guest, test};

pub fn tests() -> Vec<Test> {
    let tests = vec![
        test!(text_runs),
        test!(module_runs),
        test!(component_runs),
        test!(component_that_fails),
        test!(create_and_start),
        test!(exit_codes),
        test!(arguments_and_environment),
        test!(working_directory),
        test!(input),
        test!(files_of_the_root),
        test!(files_of_a_mount),
        test!(readonly_root),
        test!(traps),
        test!(term_ends_a_spinning_guest),
        test!(kill_ends_a_spinning_guest),
        test!(signals_end_a_sleeping_guest),
        test!(foreground_run_forwards_term),
        test!(pause_and_resume),
        test!(terminal),
        test!(export_by_name),
        test!(found_by_path_and_working_directory),
        test!(executable_bit_is_not_needed),
        test!(detected_by_content_not_by_name),
        test!(annotation_asks_for_wasm),
        test!(annotation_asks_for_native),
        test!(annotation_for_wasm_refuses_a_native_program),
        test!(compat_smart_needs_the_name),
        test!(name_of_the_runtime_asks_for_wasm),
        test!(native_containers_stay_native),
        test!(broken_module),
        test!(truncated_module),
        test!(broken_text),
        test!(import_that_nobody_provides),
        test!(component_import_that_nobody_provides),
        test!(nothing_to_run),
        test!(http_component_is_refused),
        test!(missing_module),
        test!(precompiled_code_is_refused),
        test!(warm_start_does_not_compile),
        test!(cache_is_for_its_owner_alone),
        test!(tampered_cache_entry_is_not_run),
        test!(cache_that_cannot_be_used_does_not_matter),
        test!(one_compilation_serves_many_starts),
        test!(guest_sees_no_host_file),
        test!(guest_leaves_the_root_by_no_link),
        test!(guest_sees_no_host_variable),
        test!(guest_reaches_none_of_our_descriptors),
        test!(guest_is_confined),
        test!(memory_limit_traps_or_refuses).needs(Need::CgroupV1),
        test!(waiting_guest_holds_little_memory),
        test!(other_user),
        test!(user_namespace),
        test!(exec_of_a_native_program_beside_a_guest),
        test!(exec_of_a_guest_beside_a_native_program),
    ];
    tests
        .into_iter()
        .map(|test| test.wrun_only("runc runs no Wasm"))
        .collect()
}

/// A container whose root filesystem has the guest `name` as `/name.wasm`, run with `args` after it.
fn guest_with<'case>(
    case: &'case Case,
    name: &str,
    args: &[&str],
    edit: impl FnOnce(&mut Value),
) -> Container<'case> {
    let path = format!("/{name}.wasm");
    let container = case.container_with(&[&[path.as_str()], args].concat(), edit);
    container.write(&path[1..], guest::binary(name), 0o644);
    container
}

fn run_guest(case: &Case, name: &str, args: &[&str]) -> Output {
    guest_with(case, name, args, |_| {}).run()
}

/// Starts a guest that never ends, in the background, when it has said `word`.
fn start_endless<'case>(case: &'case Case, name: &str, word: &str) -> (Container<'case>, Running) {
    let container = guest_with(case, name, &[], |_| {});
    let run = case.start(container.command("run", &[]));
    eventually(&format!("{name} says {word}"), || {
        run.stdout().contains(word).then_some(())
    });
    (container, run)
}

fn text_runs(case: &Case) {
    let container = case.container(&["/hello.wat"]);
    container.write("hello.wat", guest::text("hello"), 0o644);
    assert!(container.run().ok().stdout.starts_with("Hello from Wasm\n"));
}

fn module_runs(case: &Case) {
    assert!(
        run_guest(case, "hello", &[])
            .ok()
            .stdout
            .starts_with("Hello from Wasm\n")
    );
}

fn component_runs(case: &Case) {
    assert_eq!(
        run_guest(case, "command", &[]).ok().stdout,
        "Hello from a component\n"
    );
}

fn component_that_fails(case: &Case) {
    run_guest(case, "command-fail", &[]).code_is(1);
}

fn create_and_start(case: &Case) {
    let container = guest_with(case, "sleep", &[], |_| {});
    container.create();
    assert_eq!(container.status(), "created");
    container.start();
    assert_eq!(container.status(), "running");
    container.kill("KILL").ok();
    container.wait_for("stopped");
    container.delete();
    case.nothing_left();
}

fn exit_codes(case: &Case) {
    for code in [0, 1, 7, 126, 255] {
        run_guest(case, "exit", &[&code.to_string()]).code_is(code);
    }
}

fn arguments_and_environment(case: &Case) {
    let container = guest_with(case, "hello", &["one", "two words", ""], |config| {
        config["process"]["env"] = json!(["ONE=1", "TWO=a=b c", "EMPTY="]);
    });
    let output = container.run().ok();
    for line in [
        "arg /hello.wasm",
        "arg one",
        "arg two words",
        "arg ",
        "env ONE=1",
        "env TWO=a=b c",
        "env EMPTY=",
    ] {
        assert!(output.lines().contains(&line), "{line:?}: {output}");
    }
    assert!(output.lines().contains(&"dir /"), "{output}");
}

fn working_directory(case: &Case) {
    let container = guest_with(case, "hello", &[], |config| {
        config["process"]["cwd"] = json!("/tmp")
    });
    let output = container.run().ok();
    assert!(output.stdout.contains("dir ."), "{output}");
}

fn input(case: &Case) {
    let container = guest_with(case, "cat", &[], |_| {});
    let file = case.dir.join("input");
    fs::write(&file, "through the guest\n").expect("the input");
    let mut command = container.command("run", &[]);
    command.stdin(fs::File::open(&file).expect("the input"));
    assert_eq!(case.finish(command).ok().stdout, "through the guest\n");
}

fn files_of_the_root(case: &Case) {
    let container = guest_with(case, "file", &["/etc/passwd"], |_| {});
    assert_eq!(container.run().ok().stdout, container.read("etc/passwd"));
    let container = guest_with(case, "file", &["/tmp/new", "written by a guest"], |_| {});
    container.run().ok();
    assert_eq!(container.read("tmp/new"), "written by a guest");
}

fn files_of_a_mount(case: &Case) {
    fs::create_dir(case.dir.join("volume")).expect("a directory");
    fs::write(case.dir.join("volume/file"), "in the volume\n").expect("a file");
    let bind = |options: &'static [&'static str]| {
        let path = case.path("volume");
        move |config: &mut Value| add_mount(config, "/mnt", "bind", &path, options)
    };
    let read = guest_with(case, "file", &["/mnt/file"], bind(&["bind"]));
    assert_eq!(read.run().ok().stdout, "in the volume\n");
    guest_with(case, "file", &["/mnt/new", "x"], bind(&["bind"]))
        .run()
        .ok();
    assert_eq!(
        fs::read_to_string(case.dir.join("volume/new")).expect("the new file"),
        "x"
    );
    // 69 is WASI's number for a read-only file system, and 29 that for what has none with Wasmtime 48.
    let output = guest_with(case, "file", &["/mnt/other", "x"], bind(&["bind", "ro"])).run();
    assert!([29, 69].contains(&output.code()), "{output}");
}

fn readonly_root(case: &Case) {
    let container = guest_with(case, "file", &["/new", "x"], |config| {
        config["root"]["readonly"] = json!(true)
    });
    let output = container.run();
    assert!([29, 69].contains(&output.code()), "{output}");
}

fn traps(case: &Case) {
    for (how, cause) in [
        ("u", "unreachable"),
        ("d", "integer divide by zero"),
        ("s", "call stack exhausted"),
        ("m", "out of bounds memory access"),
    ] {
        let output = run_guest(case, "trap", &[how]).code_is(134);
        assert!(
            output.stderr.contains(cause) && output.stderr.contains("wasm backtrace"),
            "{output}"
        );
    }
    case.nothing_left();
}

fn term_ends_a_spinning_guest(case: &Case) {
    let (container, run) = start_endless(case, "spin", "spinning");
    container.kill("TERM").ok();
    run.wait().code_is(128 + 15);
}

fn kill_ends_a_spinning_guest(case: &Case) {
    let (container, run) = start_endless(case, "spin", "spinning");
    container.kill("KILL").ok();
    run.wait().code_is(128 + 9);
}

fn signals_end_a_sleeping_guest(case: &Case) {
    for (signal, number) in [("TERM", 15), ("INT", 2), ("HUP", 1), ("KILL", 9)] {
        let (container, run) = start_endless(case, "sleep", "sleeping");
        container.kill(signal).ok();
        run.wait().code_is(128 + number);
    }
}

fn foreground_run_forwards_term(case: &Case) {
    let (_container, run) = start_endless(case, "spin", "spinning");
    run.signal(rustix::process::Signal::TERM);
    run.wait().code_is(128 + 15);
}

fn pause_and_resume(case: &Case) {
    let (container, run) = start_endless(case, "spin", "spinning");
    case.call(&["pause", &container.id]).ok();
    assert_eq!(container.status(), "paused");
    case.call(&["resume", &container.id]).ok();
    container.kill("TERM").ok();
    run.wait().code_is(128 + 15);
}

fn terminal(case: &Case) {
    let container = guest_with(case, "cat", &[], |config| {
        config["process"]["terminal"] = json!(true)
    });
    let path = case.dir.join("console.sock");
    let socket = DescriptorSocket::listen(&path);
    container
        .try_create(&["--console-socket", path.to_str().expect("UTF-8")])
        .ok();
    let mut terminal = Terminal::from(socket.receive());
    container.start();
    terminal.write("typed\n");
    // Once echoed, once copied by the guest.
    terminal.expect("typed\r\ntyped\r\n");
    terminal.write("\x04");
    container.wait_for("stopped");
}

fn export_by_name(case: &Case) {
    let container = case.container(&["/entry.wasm#greet"]);
    container.write("entry.wasm", guest::binary("entry"), 0o644);
    assert_eq!(container.run().ok().stdout, "greetings\n");
    let missing = case.container(&["/entry.wasm#nonsense"]);
    missing.write("entry.wasm", guest::binary("entry"), 0o644);
    case.names(&missing.run().code_is(1), &["/entry.wasm", "nonsense"]);
}

fn found_by_path_and_working_directory(case: &Case) {
    let by_path = case.container_with(&["hello.wasm"], |config| {
        config["process"]["env"] = json!(["PATH=/usr/bin:/apps"]);
    });
    by_path.write("apps/hello.wasm", guest::binary("hello"), 0o755);
    assert!(by_path.run().ok().stdout.contains("Hello from Wasm"));
    let relative = case.container_with(&["./hello.wasm"], |config| {
        config["process"]["cwd"] = json!("/apps")
    });
    relative.write("apps/hello.wasm", guest::binary("hello"), 0o644);
    assert!(relative.run().ok().stdout.contains("Hello from Wasm"));
}

fn executable_bit_is_not_needed(case: &Case) {
    let container = case.container(&["/hello.wasm"]);
    container.write("hello.wasm", guest::binary("hello"), 0o444);
    container.run().ok();
}

fn detected_by_content_not_by_name(case: &Case) {
    let container = case.container(&["/application"]);
    container.write("application", guest::binary("hello"), 0o755);
    assert!(container.run().ok().stdout.contains("Hello from Wasm"));
    let script = case.container(&["/script.wasm"]);
    script.write("script.wasm", "#!/bin/sh\necho a script\n", 0o755);
    assert_eq!(script.run().ok().stdout, "a script\n");
}

fn annotated(config: &mut Value, key: &str, value: &str) {
    config["annotations"] = json!({ key: value });
}

fn annotation_asks_for_wasm(case: &Case) {
    for (key, value) in [
        ("run.oci.handler", "wasm"),
        ("run.oci.handler", "wasmtime"),
        ("module.wasm.image/variant", "compat"),
        ("module.wasm.image/variant", "compat-smart"),
    ] {
        let container = guest_with(case, "hello", &[], |config| annotated(config, key, value));
        assert!(
            container.run().ok().stdout.contains("Hello from Wasm"),
            "{key}={value}"
        );
    }
}

fn annotation_asks_for_native(case: &Case) {
    let container = guest_with(case, "hello", &[], |config| {
        annotated(config, "org.wrun.workload", "native")
    });
    container.write("hello.wasm", guest::binary("hello"), 0o755);
    let output = container.run();
    assert!(
        !output.status.success() && !output.stdout.contains("Hello"),
        "{output}"
    );
}

fn annotation_for_wasm_refuses_a_native_program(case: &Case) {
    let container = case.container_with(&["/bin/busybox", "true"], |config| {
        annotated(config, "run.oci.handler", "wasm");
    });
    case.names(&container.run().code_is(1), &["/bin/busybox", "ELF"]);
    case.nothing_left();
}

fn compat_smart_needs_the_name(case: &Case) {
    let container = case.container_with(&["true"], |config| {
        annotated(config, "module.wasm.image/variant", "compat-smart");
    });
    container.run().ok();
}

/// Podman and CRI-O start `NAME-wasm` for images of a Wasm platform.
fn name_of_the_runtime_asks_for_wasm(case: &Case) {
    let link = case.dir.join("wrun-wasm");
    symlink(&case.runtime.path, &link).expect("a link");
    let run = |container: &Container| {
        let mut command = std::process::Command::new(&link);
        command
            .arg("--root")
            .arg(&case.root)
            .args(["run", "--bundle", &container.bundle(), &container.id]);
        command
            .stdin(std::process::Stdio::null())
            .env("WRUN_CACHE_DIR", case.dir.join("cache"));
        case.finish(command)
    };
    assert!(
        run(&guest_with(case, "hello", &[], |_| {}))
            .ok()
            .stdout
            .contains("Hello from Wasm")
    );
    case.names(
        &run(&case.container(&["/bin/busybox", "true"])).code_is(1),
        &["/bin/busybox"],
    );
}

fn native_containers_stay_native(case: &Case) {
    case.container(&["true"]).run().ok();
    assert!(
        !case.dir.join("cache").exists(),
        "a native container made a cache"
    );
}

/// The container must be refused with one error that names `culprits`, and leave nothing.
#[track_caller]
fn refused(container: &Container, culprits: &[&str]) {
    let output = container.run().code_is(1);
    container.case.names(&output, culprits);
    assert_eq!(output.stdout, "");
    container.case.nothing_left();
}

#[track_caller]
fn refused_guest(case: &Case, name: &str, culprits: &[&str]) {
    refused(&guest_with(case, name, &[], |_| {}), culprits);
}

fn broken_module(case: &Case) {
    let container = case.container(&["/broken.wasm"]);
    container.write("broken.wasm", b"\0asm\x01\0\0\0\xff\xff\xff", 0o644);
    refused(&container, &["/broken.wasm", "not a valid Wasm binary"]);
    let version = case.container(&["/future.wasm"]);
    version.write("future.wasm", b"\0asm\x63\0\0\0", 0o644);
    refused(&version, &["/future.wasm"]);
}

fn truncated_module(case: &Case) {
    let binary = guest::binary("hello");
    for length in [4, 9, binary.len() / 2, binary.len() - 1] {
        let container = case.container(&["/cut.wasm"]);
        container.write("cut.wasm", &binary[..length], 0o644);
        refused(&container, &["/cut.wasm"]);
    }
}

fn broken_text(case: &Case) {
    let container = case.container(&["/broken.wat"]);
    container.write("broken.wat", "(module (func $x (nonsense)))", 0o644);
    refused(&container, &["/broken.wat", "nonsense"]);
}

fn import_that_nobody_provides(case: &Case) {
    refused_guest(
        case,
        "imports",
        &["/imports.wasm", "env.launch_rocket", "sock_open"],
    );
}

fn component_import_that_nobody_provides(case: &Case) {
    refused_guest(
        case,
        "command-imports",
        &["/command-imports.wasm", "example:rockets/launch@1.0.0"],
    );
}

fn nothing_to_run(case: &Case) {
    refused_guest(
        case,
        "nothing",
        &["/nothing.wasm", "exports nothing to run", "helper"],
    );
}

fn http_component_is_refused(case: &Case) {
    refused_guest(case, "http", &["/http.wasm", "wasi:http/incoming-handler"]);
}

fn missing_module(case: &Case) {
    refused(
        &case.container(&["/missing.wasm"]),
        &["/missing.wasm", "no such file"],
    );
}

/// Compiled code is native code: nobody may bring it in an image. Wasmtime marks its ELF files with OS ABI 200.
fn precompiled_code_is_refused(case: &Case) {
    let container = case.container(&["/app.cwasm"]);
    let mut elf = b"\x7fELF\x02\x01\x01\xc8".to_vec();
    elf.resize(4096, 0);
    container.write("app.cwasm", elf, 0o755);
    refused(&container, &["/app.cwasm", "precompiled"]);
}

/// The names, sizes and times of the cache's files of compiled code.
fn entries(cache: &Path) -> BTreeMap<String, (u64, i64, i64, u64)> {
    let Ok(files) = fs::read_dir(cache) else {
        return BTreeMap::new();
    };
    files
        .flatten()
        .filter(|file| file.file_name().to_string_lossy().ends_with(".code"))
        .map(|file| {
            let metadata = file.metadata().expect("an entry");
            let about = (
                metadata.len(),
                metadata.mtime(),
                metadata.mtime_nsec(),
                metadata.ino(),
            );
            (file.file_name().to_string_lossy().into_owned(), about)
        })
        .collect()
}

fn warm_start_does_not_compile(case: &Case) {
    let cache = case.dir.join("cache");
    let container = guest_with(case, "hello", &[], |_| {});
    container.run().ok();
    let cold = entries(&cache);
    assert_eq!(cold.len(), 1, "{cold:?}");
    container.run().ok();
    assert_eq!(entries(&cache), cold);
    // The same bytes in another image are the same code; the text of it as well, once it is compiled.
    let other = case.container(&["/elsewhere/program"]);
    other.write("elsewhere/program", guest::binary("hello"), 0o644);
    other.run().ok();
    assert_eq!(entries(&cache), cold);
    run_guest(case, "exit", &[]).ok();
    assert_eq!(entries(&cache).len(), 2);
}

fn cache_is_for_its_owner_alone(case: &Case) {
    run_guest(case, "hello", &[]).ok();
    let cache = case.dir.join("cache");
    assert_eq!(fs::metadata(&cache).expect("the cache").mode() & 0o777, 0o700);
    for file in fs::read_dir(&cache).expect("the cache").flatten() {
        // Its directory lets nobody else in; read-only, so that what is mapped never changes.
        assert_eq!(
            file.metadata().expect("it").mode() & 0o022,
            0,
            "{}",
            file.path().display()
        );
    }
}

fn tampered_cache_entry_is_not_run(case: &Case) {
    use std::os::unix::fs::{FileExt, PermissionsExt};
    run_guest(case, "hello", &[]).ok();
    let cache = case.dir.join("cache");
    let (name, _) = entries(&cache).into_iter().next().expect("an entry");
    let path = cache.join(name);
    fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).expect("it is ours");
    let file = fs::File::options().write(true).open(&path).expect("it is ours");
    file.write_all_at(&[0xcc; 1024], 4096).expect("it is long enough");
    drop(file);
    assert!(
        run_guest(case, "hello", &[])
            .ok()
            .stdout
            .contains("Hello from Wasm")
    );
}

fn cache_that_cannot_be_used_does_not_matter(case: &Case) {
    // A file where the directory should be; a link; another's directory.
    fs::write(case.dir.join("cache"), "").expect("a file");
    assert!(
        run_guest(case, "hello", &[])
            .ok()
            .stdout
            .contains("Hello from Wasm")
    );
    fs::remove_file(case.dir.join("cache")).expect("it is ours");
    symlink("/tmp", case.dir.join("cache")).expect("a link");
    assert!(
        run_guest(case, "hello", &[])
            .ok()
            .stdout
            .contains("Hello from Wasm")
    );
    fs::remove_file(case.dir.join("cache")).expect("it is ours");
    fs::create_dir(case.dir.join("cache")).expect("a directory");
    std::os::unix::fs::chown(case.dir.join("cache"), Some(1234), None).expect("chown");
    assert!(
        run_guest(case, "hello", &[])
            .ok()
            .stdout
            .contains("Hello from Wasm")
    );
    assert_eq!(
        fs::read_dir(case.dir.join("cache")).expect("it").count(),
        0,
        "written into another's directory"
    );
}

fn one_compilation_serves_many_starts(case: &Case) {
    let containers: Vec<_> = (0..8).map(|_| guest_with(case, "hello", &[], |_| {})).collect();
    let running: Vec<_> = containers
        .iter()
        .map(|container| case.start(container.command("run", &[])))
        .collect();
    for run in running {
        assert!(run.wait().ok().stdout.contains("Hello from Wasm"));
    }
    assert_eq!(entries(&case.dir.join("cache")).len(), 1);
}

/// `path` as a guest sees it must be a file that is not there, or one that it may not reach.
#[track_caller]
fn unreachable(case: &Case, path: &str, prepare: impl FnOnce(&Container)) {
    let container = guest_with(case, "file", &[path], |_| {});
    prepare(&container);
    let output = container.run();
    assert!(
        output.code() != 0 && output.stdout.is_empty(),
        "{path} was reached: {output}"
    );
}

fn guest_sees_no_host_file(case: &Case) {
    fs::write(case.dir.join("secret"), "the secret\n").expect("a file");
    let secret = case.path("secret");
    unreachable(case, &secret, |_| {});
    unreachable(case, &format!("/../../../../../../..{secret}"), |_| {});
    unreachable(case, "../bundle-0/config.json", |_| {});
}

fn guest_leaves_the_root_by_no_link(case: &Case) {
    fs::write(case.dir.join("secret"), "the secret\n").expect("a file");
    let secret = case.path("secret");
    for target in [
        secret.clone(),
        format!("../../../../../../../..{secret}"),
        format!("/proc/1/root{secret}"),
    ] {
        unreachable(case, "/link", |container| {
            symlink(&target, container.rootfs("link")).expect("a link")
        });
    }
}

fn guest_sees_no_host_variable(case: &Case) {
    let container = guest_with(case, "hello", &[], |config| {
        config["process"]["env"] = json!(["ONLY=this"])
    });
    let mut command = container.command("run", &[]);
    command.env("HOST_SECRET", "the secret");
    let output = case.finish(command).ok();
    let variables: Vec<_> = output
        .lines()
        .into_iter()
        .filter(|line| line.starts_with("env "))
        .collect();
    assert!(variables.contains(&"env ONLY=this"), "{output}");
    // HOME and PWD are what the container's own user and cwd make them.
    let others = variables.iter().filter(|line| {
        !["env ONLY=", "env HOME=", "env PWD="]
            .iter()
            .any(|own| line.starts_with(own))
    });
    assert_eq!(others.count(), 0, "{output}");
}

fn guest_reaches_none_of_our_descriptors(case: &Case) {
    for number in 3..16 {
        unreachable(case, &format!("/proc/self/fd/{number}"), |_| {});
        unreachable(case, &format!("/proc/1/fd/{number}"), |_| {});
    }
    unreachable(case, "/proc/self/exe", |_| {});
    unreachable(case, "/proc/self/mem", |_| {});
    unreachable(case, "/proc/self/environ", |_| {});
}

/// What the kernel says of a running guest's process.
fn guest_is_confined(case: &Case) {
    let (container, run) = start_endless(case, "sleep", "sleeping");
    let status = fs::read_to_string(container.proc("status")).expect("its status");
    let value = |name: &str| {
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{name}:\t")));
        line.unwrap_or_else(|| panic!("no {name} in {status}"))
            .trim()
            .to_owned()
    };
    assert_eq!(value("NoNewPrivs"), "1");
    assert_eq!(
        value("Seccomp"),
        "2",
        "our own allow-list is on top of the engine's profile"
    );
    // Its file accesses are made by this very process, which must not be able to open itself.
    let table = fs::read_to_string(container.proc("mountinfo")).expect("its mounts");
    assert!(table.contains(" / /proc/1 ro"), "{table}");
    container.kill("KILL").ok();
    run.wait();
}

fn memory_limit_traps_or_refuses(case: &Case) {
    let container = guest_with(case, "hog", &[], |config| {
        config["linux"]["resources"]["memory"] = json!({ "limit": 64 << 20, "swap": 64 << 20 });
    });
    let output = container.run();
    // Refused by memory.grow, so that the guest can say so; not killed.
    assert_eq!(
        (output.code(), output.stdout.as_str()),
        (3, "refused\n"),
        "{output}"
    );
}

/// Private dirty memory of a process, in kB (proc_pid_smaps(5)).
fn private_dirty(container: &Container) -> u64 {
    let text = fs::read_to_string(container.proc("smaps_rollup")).expect("smaps_rollup");
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Private_Dirty:"))
        .expect("Private_Dirty");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// Ten times what the release build is held to by the benchmark: this is the test build.
fn waiting_guest_holds_little_memory(case: &Case) {
    let container = guest_with(case, "sleep", &[], |_| {});
    container.create();
    assert!(
        private_dirty(&container) < 5_000,
        "{} kB created",
        private_dirty(&container)
    );
    container.start();
    assert!(
        private_dirty(&container) < 10_000,
        "{} kB running",
        private_dirty(&container)
    );
}

fn other_user(case: &Case) {
    let container = guest_with(case, "file", &["/tmp/new", "x"], |config| {
        config["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
    });
    fs::set_permissions(
        container.rootfs("tmp"),
        std::os::unix::fs::PermissionsExt::from_mode(0o1777),
    )
    .expect("it");
    container.run().ok();
    assert_eq!(
        fs::metadata(container.rootfs("tmp/new")).expect("the file").uid(),
        1000
    );
}

fn user_namespace(case: &Case) {
    let container = guest_with(case, "hello", &[], |config| {
        crate::harness::bundle::map_ids(config, 100_000)
    });
    assert!(container.run().ok().stdout.contains("Hello from Wasm"));
}

fn exec_of_a_native_program_beside_a_guest(case: &Case) {
    let (container, run) = start_endless(case, "spin", "spinning");
    assert_eq!(container.sh("echo beside"), "beside");
    container.kill("KILL").ok();
    run.wait();
}

fn exec_of_a_guest_beside_a_native_program(case: &Case) {
    let container = case.container(&["sleep", "100"]);
    container.write("hello.wasm", guest::binary("hello"), 0o644);
    container.write("exit.wasm", guest::binary("exit"), 0o644);
    container.run_detached();
    assert!(
        container
            .exec(&["/hello.wasm"])
            .ok()
            .stdout
            .contains("Hello from Wasm")
    );
    container.exec(&["/exit.wasm", "9"]).code_is(9);
}
