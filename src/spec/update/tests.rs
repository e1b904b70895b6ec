//! What an update comes to: written, and kept.

use super::*;

fn update_of(change: &str, resources: &str) -> (Value, Value, Update) {
    update_of_version("1.3.0", change, resources)
}

fn update_of_version(version: &str, change: &str, resources: &str) -> (Value, Value, Update) {
    let config = format!(r#"{{"ociVersion": "{version}", "linux": {{"resources": {resources}}}}}"#);
    let none = Schemata::default();
    let update = from_json(
        change.as_bytes(),
        Path::new("change"),
        &none,
        config.as_bytes(),
        Path::new("config.json"),
    )
    .unwrap();
    let kept: Value = serde_json::from_slice(&update.config).unwrap();
    assert_eq!(kept["ociVersion"], version);
    let written = serde_json::to_value(&update.resources).unwrap();
    (written, kept["linux"]["resources"].clone(), update)
}

#[track_caller]
fn check(change: &str, resources: &str, written: &str, kept: &str) {
    let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let (found_written, found_kept, _) = update_of(change, resources);
    assert_eq!(found_written, parse(written), "written");
    assert_eq!(found_kept, parse(kept), "kept");
}

#[test]
fn only_what_is_mentioned_is_written_and_the_rest_is_kept() {
    check(
        r#"{"cpu": {"shares": 200}, "pids": {"limit": 0}}"#,
        r#"{"memory": {"limit": 7}, "cpu": {"shares": 100, "cpus": "0"}, "pids": {"limit": 3}}"#,
        r#"{"cpu": {"shares": 200}, "pids": {"limit": 0}}"#,
        r#"{"memory": {"limit": 7}, "cpu": {"shares": 200, "cpus": "0"}, "pids": {"limit": 0}}"#,
    );
    check(
        "{}",
        r#"{"pids": {"limit": 3}}"#,
        "{}",
        r#"{"pids": {"limit": 3}}"#,
    );
    check(
        r#"{"pids": {"limit": 3}}"#,
        "null",
        r#"{"pids": {"limit": 3}}"#,
        r#"{"pids": {"limit": 3}}"#,
    );
}

/// As for `create`.
#[test]
fn no_processes_are_no_limit_before_version_1_3() {
    for (version, written) in [("1.0.2-dev", None), ("1.2.1", None), ("1.3.0", Some(0))] {
        let (found, kept, _) =
            update_of_version(version, r#"{"pids": {"limit": 0}}"#, r#"{"pids": {"limit": 9}}"#);
        let limit = |resources: &Value| resources["pids"]["limit"].as_i64();
        assert_eq!(limit(&found), written, "{version}");
        assert_eq!(limit(&kept), written.or(Some(9)), "{version}");
    }
}

#[test]
fn what_an_engine_sends_for_nothing_is_nothing() {
    check(
        r#"{"memory": {"limit": 0, "swap": 0, "reservation": null}, "blockIO": {"weight": 0}, "pids": {},
            "cpu": {"shares": 0, "quota": 0, "period": 0, "cpus": "", "mems": ""},
            "devices": [{"allow": true, "access": "rwm"}]}"#,
        r#"{"memory": {"limit": 7}, "devices": []}"#,
        r#"{"memory": {}, "blockIO": {}, "cpu": {}}"#,
        r#"{"memory": {"limit": 7}, "blockIO": {}, "cpu": {}, "devices": []}"#,
    );
}

#[test]
fn pairs_are_written_together() {
    let kept = r#"{"cpu": {"quota": 500, "period": 1000}, "memory": {"limit": 7, "swap": 9}}"#;
    check(
        r#"{"cpu": {"period": 900}}"#,
        kept,
        r#"{"cpu": {"quota": 500, "period": 900}}"#,
        r#"{"cpu": {"quota": 500, "period": 900}, "memory": {"limit": 7, "swap": 9}}"#,
    );
    check(
        r#"{"memory": {"swap": -1}}"#,
        kept,
        r#"{"memory": {"limit": 7, "swap": -1}}"#,
        r#"{"cpu": {"quota": 500, "period": 1000}, "memory": {"limit": 7, "swap": -1}}"#,
    );
    // Unlimited memory is not held back by an old limit on memory and swap.
    check(
        r#"{"memory": {"limit": -1}}"#,
        kept,
        r#"{"memory": {"limit": -1}}"#,
        r#"{"cpu": {"quota": 500, "period": 1000}, "memory": {"limit": -1}}"#,
    );
    check(
        r#"{"cpu": {"idle": 1}}"#,
        r#"{"cpu": {"shares": 100}}"#,
        r#"{"cpu": {"idle": 1}}"#,
        r#"{"cpu": {"idle": 1}}"#,
    );
}

#[test]
fn lists_are_changed_device_by_device() {
    check(
        r#"{"blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 2},
            {"major": 8, "minor": 16, "rate": 3}], "weightDevice": [{"major": 8, "minor": 0, "weight": 50}]}}"#,
        r#"{"blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1}],
            "weightDevice": [{"major": 8, "minor": 0, "weight": 40, "leafWeight": 30}]}}"#,
        r#"{"blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 2},
            {"major": 8, "minor": 16, "rate": 3}], "weightDevice": [{"major": 8, "minor": 0, "weight": 50}]}}"#,
        r#"{"blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 2},
            {"major": 8, "minor": 16, "rate": 3}],
            "weightDevice": [{"major": 8, "minor": 0, "weight": 50, "leafWeight": 30}]}}"#,
    );
}

#[test]
fn memory_of_the_kernel_is_passed_over_with_a_warning() {
    let (written, _, update) = update_of(r#"{"memory": {"kernel": 1, "kernelTCP": 2}}"#, "{}");
    assert_eq!(written, serde_json::json!({ "memory": {} }));
    assert_eq!(update.warnings.len(), 1);
    let (.., update) = update_of(r#"{"memory": {"checkBeforeUpdate": true, "limit": 5}}"#, "{}");
    assert!(update.check_memory && update.warnings.is_empty());
    assert!(!update_of("{}", "{}").2.check_memory);
}

#[test]
fn options_are_the_same_and_schemata_are_kept() {
    let limits = Limits {
        memory: Memory {
            limit: Some(5),
            ..Memory::default()
        },
        pids: Pids { limit: Some(-1) },
        ..Limits::default()
    };
    let schemata = Schemata {
        l3_cache: "L3:0=f".to_owned(),
        memory_bandwidth: String::new(),
    };
    let config = br#"{"linux": {"intelRdt": {"l3CacheSchema": "L3:0=1", "memBwSchema": "MB:0=1"}}}"#;
    let update = limits.update(&schemata, config, Path::new("c")).unwrap();
    let kept: Value = serde_json::from_slice(&update.config).unwrap();
    assert_eq!(
        kept["linux"],
        serde_json::json!({
            "intelRdt": { "l3CacheSchema": "L3:0=f", "memBwSchema": "MB:0=1" },
            "resources": { "memory": { "limit": 5 }, "cpu": {}, "blockIO": {}, "pids": { "limit": -1 } },
        })
    );
}

#[test]
fn what_is_wrong_is_named() {
    let none = Schemata::default();
    let error = |change: &str| {
        from_json(
            change.as_bytes(),
            Path::new("new.json"),
            &none,
            b"{}",
            Path::new("config.json"),
        )
        .unwrap_err()
        .to_string()
    };
    for change in ["", "{", "{} x"] {
        assert_eq!(error(change), "new.json is not a valid JSON document", "{change}");
    }
    assert_eq!(error("[]"), "new.json: resources: it is no JSON object");
    assert_eq!(
        error(r#"{"memory": {"limit": "x"}}"#),
        "new.json: memory.limit has a wrong value"
    );
}

#[test]
fn a_damaged_configuration_is_an_error() {
    for damaged in ["[]", "7", r#"{"linux": []}"#, r#"{"linux": {"resources": []}}"#] {
        let error = from_json(
            b"{}",
            Path::new("new.json"),
            &Schemata::default(),
            damaged.as_bytes(),
            Path::new("config.json"),
        );
        let error = error.unwrap_err().to_string();
        assert!(error.starts_with("config.json"), "{damaged}: {error}");
    }
}
