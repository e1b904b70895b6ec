//! What is no application, and what is wrong with one: told when the container is made, of which nothing is left.

use super::*;

pub fn tests() -> Vec<Test> {
    vec![
        test!(spin_a_native_entry_point_stays_what_it_is),
        test!(spin_an_annotation_says_that_it_is_none),
        test!(spin_bad_manifests_are_told_by_create),
        test!(spin_components_that_cannot_be_run_are_told_by_create),
        test!(spin_settings_without_sense_are_told_by_create),
    ]
}

const ONE: &str = "[[trigger.http]]\nroute = \"/...\"\ncomponent = \"one\"\n[component.one]\n";

fn one(rest: &str) -> String {
    manifest(&format!("{ONE}{rest}"))
}

/// What `create` says of an application; no container is left.
#[track_caller]
fn refusal(case: &Case, text: &str, guests: &[&str], env: &[&str]) -> String {
    let container = application(case, text, guests, |config| {
        let own = config["process"]["env"].as_array_mut().expect("the environment");
        own.extend(env.iter().map(|entry| json!(entry)));
    });
    let error = container.try_create(&[]).error();
    case.call(&["state", &container.id]).code_is(1);
    error
}

fn spin_a_native_entry_point_stays_what_it_is(case: &Case) {
    let container = case.container(&["/bin/echo", "native"]);
    container.write("spin.toml", one("source = \"hello.wasm\"\n"), 0o644);
    assert_eq!(container.run().ok().stdout, "native\n");
}

fn spin_an_annotation_says_that_it_is_none(case: &Case) {
    let text = one("source = \"http-02.wasm\"\n");
    for (key, value) in [("org.wrun.workload", "native"), ("run.oci.handler", "slight")] {
        let container = application(case, &text, &["http-02"], |config| {
            config["annotations"] = json!({ key: value });
        });
        let error = container.try_create(&[]).error();
        assert!(error.contains("is a directory"), "{key}={value}: {error}");
    }
}

fn spin_bad_manifests_are_told_by_create(case: &Case) {
    for (rest, told) in [
        (
            "sourc = \"http-02.wasm\"\n",
            "/spin.toml: component.one.sourc: unknown field",
        ),
        ("source = 1\n", "/spin.toml: component.one.source: invalid type"),
        (
            "source = \"none.wasm\"\n",
            "/spin.toml: component.one.source: /none.wasm: ",
        ),
        (
            "source = \"/\"\n",
            "/spin.toml: component.one.source: /: it is not a regular file",
        ),
        (
            "source = \"http-02.wasm\"\nfiles = [\"none.txt\"]\n",
            "/spin.toml: component.one.files[0]: there is no none.txt",
        ),
        (
            "source = \"http-02.wasm\"\nallowed_outbound_hosts = [\"http://two.spin.internal\"]\n",
            "`http://two.spin.internal` names no component that has a trigger",
        ),
        (
            "source = \"http-02.wasm\"\n[variables]\ntoken = { required = true }\n",
            "/spin.toml: variables.token: is required, but the container's environment has neither TOKEN",
        ),
        (
            "source = \"http-02.wasm\"\n[[trigger.http]]\nroute = \"/*\"\ncomponent = \"one\"\n",
            "/spin.toml: trigger.http[1].route: ",
        ),
    ] {
        let error = refusal(case, &one(rest), &["http-02"], &[]);
        assert!(error.contains(told), "{told}: {error}");
    }
}

fn spin_components_that_cannot_be_run_are_told_by_create(case: &Case) {
    for (guest, told) in [
        ("library", "component `one`: /library.wasm: "),
        ("imports", "component `one`: /imports.wasm: "),
        ("command", "trigger.http[0]: component `one` cannot be used here"),
    ] {
        let error = refusal(case, &one(&format!("source = \"{guest}.wasm\"\n")), &[guest], &[]);
        assert!(
            error.contains("/spin.toml") && error.contains(told),
            "{told}: {error}"
        );
    }
}

fn spin_settings_without_sense_are_told_by_create(case: &Case) {
    let text = one("source = \"http-02.wasm\"\n");
    for (env, told) in [
        ("SPIN_HTTP_LISTEN_ADDR=80", "SPIN_HTTP_LISTEN_ADDR"),
        ("SPIN_COMPONENTS_TO_RETAIN=two", "there is no component `two`"),
        ("SPIN_MAX_INSTANCE_MEMORY=much", "it must be a number of bytes"),
    ] {
        let error = refusal(case, &text, &["http-02"], &[env]);
        assert!(error.contains(told), "{told}: {error}");
    }
}
