//! What the container's environment says of an application as a whole.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use super::manifest::{Manifest, ManifestError};

/// Where to listen.
pub const ADDRESS: &str = "SPIN_HTTP_LISTEN_ADDR";
/// Which components are run, where not all are; with commas between their ids.
const RETAIN: &str = "SPIN_COMPONENTS_TO_RETAIN";
/// Bytes that the memories of one instance may take.
const MEMORY: &str = "SPIN_MAX_INSTANCE_MEMORY";
/// What a variable of the environment is called that sets one of the application's, whatever else is called so.
const PREFIX: &str = "SPIN_VARIABLE_";

/// Spin's own.
const DEFAULT_PORT: u16 = 80;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub address: SocketAddr,
    /// `None` for all.
    pub retain: Option<Vec<String>>,
    pub instance_memory: Option<usize>,
}

/// A variable of the container's environment that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("process.env {variable}={value:?}: it must be {expected}")]
pub struct SettingError {
    pub variable: &'static str,
    pub value: String,
    pub expected: &'static str,
}

impl Settings {
    pub fn of(env: &[(String, String)]) -> Result<Self, SettingError> {
        let address = match get(env, ADDRESS) {
            None => (Ipv4Addr::UNSPECIFIED, DEFAULT_PORT).into(),
            Some(value) => {
                let numeric = value
                    .strip_prefix("localhost:")
                    .map(|port| format!("127.0.0.1:{port}"));
                let parsed = numeric.as_deref().unwrap_or(value).parse();
                parsed.map_err(|_| wrong(ADDRESS, value, "an address and a port, such as 0.0.0.0:80"))?
            }
        };
        let ids = |value: &str| -> Vec<String> {
            let ids = value.split(',').map(str::trim).filter(|id| !id.is_empty());
            ids.map(str::to_owned).collect()
        };
        let instance_memory = get(env, MEMORY).map(|value| {
            let bytes = value.trim().parse::<usize>().ok().filter(|bytes| *bytes > 0);
            bytes.ok_or_else(|| wrong(MEMORY, value, "a number of bytes"))
        });
        Ok(Self {
            address,
            retain: get(env, RETAIN).map(ids).filter(|ids| !ids.is_empty()),
            instance_memory: instance_memory.transpose()?,
        })
    }
}

fn wrong(variable: &'static str, value: &str, expected: &'static str) -> SettingError {
    SettingError {
        variable,
        value: value.to_owned(),
        expected,
    }
}

fn get<'a>(env: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let found = env.iter().rfind(|(key, _)| key == name);
    found.map(|(_, value)| value.as_str())
}

/// The values of the application's variables: `SPIN_VARIABLE_NAME` of the environment, or its `NAME`, or the default.
///
/// # Errors
/// One is required and has none.
pub fn variables(
    manifest: &Manifest,
    env: &[(String, String)],
) -> Result<BTreeMap<String, String>, ManifestError> {
    let mut values = BTreeMap::new();
    for (name, variable) in &manifest.variables {
        let upper = name.to_ascii_uppercase();
        let prefixed = format!("{PREFIX}{upper}");
        let given = get(env, &prefixed).or_else(|| get(env, &upper));
        let Some(value) = given.or(variable.default.as_deref()) else {
            return Err(ManifestError::at(
                format!("variables.{name}"),
                format!("is required, but the container's environment has neither {upper} nor {prefixed}"),
            ));
        };
        values.insert(name.clone(), value.to_owned());
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let pair = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn without_settings_spin_s_defaults_hold() {
        let settings = Settings::of(&[]).expect("settings");
        assert_eq!(settings.address.to_string(), "0.0.0.0:80");
        assert_eq!((settings.retain, settings.instance_memory), (None, None));
    }

    #[test]
    fn the_environment_says_where_to_listen_and_what_to_run() {
        let settings = Settings::of(&env(&[
            (ADDRESS, "localhost:3000"),
            (RETAIN, "one, two,"),
            (MEMORY, "1048576"),
        ]))
        .expect("settings");
        assert_eq!(settings.address.to_string(), "127.0.0.1:3000");
        assert_eq!(settings.retain, Some(vec!["one".to_owned(), "two".to_owned()]));
        assert_eq!(settings.instance_memory, Some(1 << 20));
        for (variable, value) in [
            (ADDRESS, "80"),
            (ADDRESS, ""),
            (ADDRESS, "example.test:80"),
            (MEMORY, "many"),
            (MEMORY, "0"),
        ] {
            let error = Settings::of(&env(&[(variable, value)]))
                .expect_err("wrong")
                .to_string();
            assert!(
                error.contains(variable) && error.contains(&format!("{value:?}")),
                "{error}"
            );
        }
    }

    #[test]
    fn variables_come_from_the_environment_or_the_manifest() {
        let manifest = Manifest::parse(
            "spin_manifest_version = 2\n[application]\nname = 'a'\n[variables]\none = { default = '1' }\n\
             two = { default = '2' }\nthree = { required = true }\n[[trigger.http]]\nroute = '/'\n\
             component = 'a'\n[component.a]\nsource = 'a.wasm'\n",
        )
        .expect("a manifest");
        let of = |pairs: &[(&str, &str)]| variables(&manifest, &env(pairs));
        let error = of(&[("three", "lower case")])
            .expect_err("nothing is given")
            .to_string();
        assert!(
            error.contains("variables.three") && error.contains("SPIN_VARIABLE_THREE"),
            "{error}"
        );
        let values = of(&[("TWO", "b"), ("SPIN_VARIABLE_TWO", "c"), ("THREE", "d")]).expect("values");
        let values: Vec<&str> = values.values().map(String::as_str).collect();
        assert_eq!(values, ["1", "d", "c"]);
    }
}
