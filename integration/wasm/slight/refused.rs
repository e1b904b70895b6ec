//! What is wrong with an application: told when the container is made, of which nothing is left.

use super::*;

pub fn tests() -> Vec<Test> {
    vec![
        test!(slight_bad_slightfiles_are_told_by_create),
        test!(slight_modules_that_cannot_be_run_are_told_by_create),
        test!(slight_without_the_module_it_is_no_application),
    ]
}

/// What `create` says of an application; no container is left.
#[track_caller]
fn refusal(case: &Case, text: &str, guest: &str) -> String {
    let container = application(case, text, guest, |_| {});
    let error = container.try_create(&[]).error();
    case.call(&["state", &container.id]).code_is(1);
    error
}

fn slight_bad_slightfiles_are_told_by_create(case: &Case) {
    let all = filesystem();
    for (rest, told) in [
        ("[[capability", "/slightfile.toml: line "),
        (
            "[[capability]]\nname = 1\n",
            "/slightfile.toml: capability[5].name: invalid type",
        ),
        (
            &capability("keyvalue.azblob", "a"),
            "/slightfile.toml: capability[5] (keyvalue.azblob `a`): `keyvalue.azblob` (Azure Blob Storage) is not provided",
        ),
        (
            &capability("keyvalue.filesystem", "files"),
            "/slightfile.toml: capability[5] (keyvalue.filesystem `files`).name: the name is taken by capability[3]",
        ),
        (
            &capability("keyvalue.filesystem", "../x"),
            "/slightfile.toml: capability[5] (keyvalue.filesystem `../x`).name: ",
        ),
        (
            &(capability("keyvalue.redis", "r") + "configs = { REDIS_ADDRESS = \"${envvars.NONE}\" }\n"),
            "/slightfile.toml: capability[5] (keyvalue.redis `r`).configs.REDIS_ADDRESS: the container's environment has no NONE",
        ),
        (
            &(capability("keyvalue.redis", "r") + "configs = { REDIS_ADDRESS = \"rediss://one.test\" }\n"),
            "capability[5] (keyvalue.redis `r`).configs.REDIS_ADDRESS: TLS is not supported",
        ),
        (
            &(capability("messaging.mosquitto", "m")
                + "configs = { MOSQUITTO_HOST = \"a\", MOSQUITTO_PORT = \"none\" }\n"),
            "capability[5] (messaging.mosquitto `m`).configs.MOSQUITTO_PORT: is no number of a port",
        ),
    ] {
        let error = refusal(case, &slightfile(&format!("{all}{rest}")), "slight");
        assert!(error.contains(told), "{told}: {error}");
    }
}

fn slight_modules_that_cannot_be_run_are_told_by_create(case: &Case) {
    let program = "specversion = \"0.2\"\n";
    let server = format!("{program}{}", capability("http", "rest"));
    for (text, guest, told) in [
        (server.as_str(), "slight", "no capability is"),
        (&server, "slight-start", "no capability is"),
        (&server, "hello", "which would start a server"),
        (program, "imports", "/app.wasm: "),
        (program, "nothing", "/app.wasm: exports nothing to run"),
        (
            program,
            "http-02",
            "/app.wasm: cannot be linked: it is a component",
        ),
    ] {
        let error = refusal(case, text, guest);
        assert!(error.contains(told), "{guest}: {error}");
    }
    let without_server =
        slightfile(&filesystem()).replace("resource = \"http\"", "resource = \"http-client\"");
    let error = refusal(case, &without_server, "slight");
    assert!(
        error.contains("the name is taken") || error.contains("no capability is"),
        "{error}"
    );
}

fn slight_without_the_module_it_is_no_application(case: &Case) {
    let container = case.container(&["/"]);
    container.write("slightfile.toml", slightfile(""), 0o644);
    let error = container.try_create(&[]).error();
    assert!(error.contains("is a directory"), "{error}");
    // And a program stays what it is.
    let container = application(case, &slightfile(&filesystem()), "slight", |config| {
        config["process"]["args"] = json!(["/bin/echo", "native"]);
    });
    assert_eq!(container.run().ok().stdout, "native\n");
}
