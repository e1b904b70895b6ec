//! What a guest may take, and that it is told, or its user, when it wants more.

use super::*;

pub fn tests() -> Vec<Test> {
    vec![
        test!(memory_is_refused_before_the_kernel_kills),
        test!(memories_and_tables_count_together),
        test!(memory_of_an_added_guest),
        test!(memory_of_an_added_guest_on_v2).unified(),
        test!(memory_at_the_start),
        test!(fuel),
        test!(fuel_of_a_component),
        test!(enough_fuel),
        test!(wall_clock),
        test!(enough_wall_clock),
        test!(alarm_from_outside),
        test!(cpu_quota),
    ]
}

/// A container with a memory limit in MiB.
fn limited<'case>(case: &'case Case, name: &str, args: &[&str], mebibytes: u64) -> Container<'case> {
    guest_with(case, name, args, |config| {
        config["linux"]["resources"]["memory"] = json!({ "limit": mebibytes << 20, "swap": mebibytes << 20 });
    })
}

/// A container whose annotations are `pairs`.
fn annotated<'case>(
    case: &'case Case,
    name: &str,
    args: &[&str],
    pairs: &[(&str, &str)],
) -> Container<'case> {
    guest_with(case, name, args, |config| {
        for (key, value) in pairs {
            config["annotations"][format!("org.wrun.wasm.{key}")] = json!(value);
        }
    })
}

fn memory_is_refused_before_the_kernel_kills(case: &Case) {
    let output = limited(case, "hog", &[], 64).run().code_is(3);
    // By memory.grow, so that the guest can say so; not killed. And its user learns why.
    assert_eq!(output.stdout, "refused\n", "{output}");
    assert!(
        output.stderr.contains("memory.limit") && output.stderr.contains(&(64 << 20).to_string()),
        "{output}"
    );
}

fn memories_and_tables_count_together(case: &Case) {
    // Of 64 MiB the engine keeps four, and the first memory begins with a page.
    limited(case, "hog-many", &[], 64).run().code_is(59);
}

/// The limit that counts is the one that is set when a process is added.
fn memory_of_an_added_guest(case: &Case) {
    let container = limited(case, "sleep", &[], 256);
    container.write("hog-many.wasm", guest::binary("hog-many"), 0o644);
    container.run_detached();
    container.exec(&["/hog-many.wasm"]).code_is(239);
    let groups = crate::harness::leaks::cgroups(&container.id);
    let file = |name: &str| {
        groups
            .iter()
            .map(|group| group.join(name))
            .find(|path| path.exists())
    };
    let limit = file("memory.limit_in_bytes").or_else(|| file("memory.max"));
    fs::write(limit.expect("the limit's file"), (128 << 20).to_string()).expect("another limit");
    container.exec(&["/hog-many.wasm"]).code_is(119);
}

fn memory_of_an_added_guest_on_v2(case: &Case) {
    // The controllers may be on v1 here, and then there is no limit to set or to read: as much as there is.
    let container = guest_with(case, "sleep", &[], |_| {});
    container.write("hog-many.wasm", guest::binary("hog-many"), 0o644);
    container.run_detached();
    container.exec(&["/hog-many.wasm"]).code_is(255);
}

/// A guest that cannot even begin says so.
fn memory_at_the_start(case: &Case) {
    let container = case.container_with(&["/large.wat"], |config| {
        config["linux"]["resources"]["memory"] = json!({ "limit": 32 << 20, "swap": 32 << 20 });
    });
    let text = "(module (memory (export \"memory\") 1024) (func (export \"_start\")))";
    container.write("large.wat", text, 0o644);
    let output = container.run().code_is(1);
    assert!(
        output.stderr.contains("memory.limit") && output.stderr.contains("67108864"),
        "{output}"
    );
}

fn fuel(case: &Case) {
    let output = annotated(case, "spin", &[], &[("fuel", "100000")])
        .run()
        .code_is(134);
    assert!(
        output.stderr.contains("org.wrun.wasm.fuel") && output.stderr.contains("100000"),
        "{output}"
    );
    assert_eq!(output.stdout, "spinning\n");
}

fn fuel_of_a_component(case: &Case) {
    let output = annotated(case, "command-deep", &[], &[("fuel", "1000")])
        .run()
        .code_is(134);
    assert!(output.stderr.contains("org.wrun.wasm.fuel"), "{output}");
}

fn enough_fuel(case: &Case) {
    let output = annotated(case, "hello", &[], &[("fuel", "1000000")]).run().ok();
    assert!(output.stdout.starts_with("Hello from Wasm\n"), "{output}");
    let output = annotated(case, "command", &[], &[("fuel", "1000000")]).run().ok();
    assert_eq!(output.stdout, "Hello from a component\n");
}

fn wall_clock(case: &Case) {
    for name in ["spin", "sleep"] {
        let output = annotated(case, name, &[], &[("timeout", "0.2")])
            .run()
            .code_is(124);
        assert!(
            output.stderr.contains("org.wrun.wasm.timeout") && output.stderr.contains("0.2"),
            "{output}"
        );
    }
}

fn enough_wall_clock(case: &Case) {
    let output = annotated(case, "hello", &[], &[("timeout", "3000")]).run().ok();
    assert_eq!(output.stderr, "");
}

/// With a clock or without, another's SIGALRM is one like any other.
fn alarm_from_outside(case: &Case) {
    for pairs in [&[][..], &[("timeout", "3000")]] {
        let container = annotated(case, "sleep", &[], pairs);
        let run = case.start(container.command("run", &[]));
        eventually("it sleeps", || run.stdout().contains("sleeping").then_some(()));
        container.kill("ALRM").ok();
        run.wait().code_is(128 + 14);
    }
}

/// Counted, not measured: a guest that would spin is held back.
fn cpu_quota(case: &Case) {
    let container = guest_with(case, "spin", &[], |config| {
        config["linux"]["resources"]["cpu"] = json!({ "quota": 5000, "period": 100_000 });
    });
    container.run_detached();
    let groups = crate::harness::leaks::cgroups(&container.id);
    let held_back = |text: String| {
        let line = text.lines().find_map(|line| line.strip_prefix("nr_throttled "))?;
        line.parse::<u64>().ok().filter(|times| *times > 1)
    };
    eventually("the kernel holds it back", || {
        let texts = groups
            .iter()
            .filter_map(|group| fs::read_to_string(group.join("cpu.stat")).ok());
        texts.filter_map(held_back).next()
    });
    container.kill("KILL").ok();
    container.wait_for("stopped");
}
