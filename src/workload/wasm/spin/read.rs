//! Reading an application in its container, when it is made: all that can be wrong with it but its code is told here.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FileType, OFlags};

use super::allowed_hosts::{AllowedHosts, INTERNAL};
use super::files::Collector;
use super::host::redis::Server;
use super::host::{Discord, Grants, STATE, Stores, Trust, Trusts};
use super::manifest::{self, Component, Manifest, ManifestError, RedisTrigger};
use super::redis::{self, Subscription};
use super::runtime_config::{RuntimeConfig, RuntimeConfigError};
use super::settings::{self, Settings};
use super::{Application, DIRECTORY, MANIFEST, Member, RUNTIME_CONFIG, SpinError};
use crate::workload::wasm::application::{Open, Source, Surroundings};
use crate::workload::wasm::kinds::World;

/// Reads the manifest and what it asks for, and opens the components in the order of [`Application`]'s.
pub fn read(surroundings: Surroundings<'_>) -> Result<(Application, Vec<Source>), SpinError> {
    let Surroundings {
        env,
        open,
        directory,
        memory_limit,
    } = surroundings;
    let text = text(open, MANIFEST)?.ok_or_else(|| SpinError::Read {
        path: MANIFEST,
        source: io::ErrorKind::NotFound.into(),
    })?;
    let mut manifest = Manifest::parse(&text).map_err(SpinError::Manifest)?;
    let known: BTreeSet<String> = manifest.components.keys().cloned().collect();
    let mut settings = Settings::of(env)?;
    if let Some(ids) = &settings.retain {
        let ids = ids.iter().map(String::as_str).collect();
        manifest.retain(&ids).map_err(SpinError::Retain)?;
    }
    let values = settings::variables(&manifest, env).map_err(SpinError::Manifest)?;
    let config = match self::text(open, RUNTIME_CONFIG)? {
        Some(text) => RuntimeConfig::parse(&text).map_err(SpinError::RuntimeConfig)?,
        None => RuntimeConfig::default(),
    };
    settings.instance_memory = instance_memory(&settings, &config);
    let mut trusts = trusts(&config, &known, open).map_err(SpinError::RuntimeConfig)?;
    let used: BTreeSet<&str> = manifest.used();
    for (id, component) in manifest
        .components
        .iter()
        .filter(|(id, _)| used.contains(id.as_str()))
    {
        let labels = component.key_value_stores.iter();
        labels.for_each(|label| trusts.has_store(id, label));
    }
    let stores = Stores::new(&config, trusts, Path::new(DIRECTORY), memory_limit)?;
    let mut collector = Collector::new(open, directory.as_ref().map(AsFd::as_fd), hidden(&config));
    let (mut members, mut sources) = (Vec::new(), Vec::new());
    for id in &used {
        let Some(component) = manifest.components.get(*id) else {
            continue;
        };
        let grants = grants(id, component, &values, &used).map_err(SpinError::Manifest)?;
        stores.check(&grants)?;
        let sockets = has_sockets(component, &values);
        sources.push(source(open, id, component)?);
        members.push(Member {
            id: (*id).to_owned(),
            grants: Arc::new(grants),
            sockets,
            environment: component.environment.clone().into_iter().collect(),
            mounts: collector.collect(id, component).map_err(SpinError::Manifest)?,
        });
    }
    let subscriptions = subscriptions(manifest.redis, &values).map_err(SpinError::Manifest)?;
    for Subscription { key, address, .. } in &subscriptions {
        let wrong = |discord: Discord| ManifestError::at(format!("{key}.address"), discord.to_string());
        redis::trust(address, &subscriptions, &stores).map_err(|it| SpinError::Manifest(wrong(it)))?;
    }
    let application = Application {
        name: manifest.name,
        version: manifest.version,
        members,
        subscriptions,
        command: manifest.commands.into_iter().next(),
        triggers: manifest.http,
        stores: Arc::new(stores),
        settings,
        directory,
    };
    Ok((application, sources))
}

/// Whom components trust, as far as the configuration says so. `known` are all components of the manifest.
fn trusts(
    config: &RuntimeConfig,
    known: &BTreeSet<String>,
    open: Open,
) -> Result<Trusts, RuntimeConfigError> {
    let mut trusts = Trusts::default();
    for (at, tls) in config.client_tls.iter().enumerate() {
        let wrong = |field: &str, reason: String| RuntimeConfigError::Value {
            key: format!("client_tls[{at}].{field}"),
            reason,
        };
        if let Some(other) = tls.components.iter().find(|id| !known.contains(*id)) {
            let reason = format!("there is no component `{other}` in {MANIFEST}");
            return Err(wrong("component_ids", reason));
        }
        let trust = match &tls.roots {
            None => Ok(Trust::default()),
            Some(path) => {
                let path = Path::new(DIRECTORY).join(path);
                let bytes = bytes(open, &path).map_err(|error| error.to_string());
                let trust = bytes.and_then(|bytes| Trust::new(&bytes, tls.usual));
                trust.map_err(|reason| wrong("ca_roots_file", format!("{}: {reason}", path.display())))
            }
        };
        trusts.add(&tls.components, &tls.hosts, trust?);
    }
    Ok(trusts)
}

/// What of the container's files no component sees: the configuration, which may have passwords in it, and the stores
/// and databases of all, with the files that SQLite keeps beside them.
fn hidden(config: &RuntimeConfig) -> Vec<PathBuf> {
    let suffixes = ["", "-journal", "-wal", "-shm"];
    let files = config.files().into_iter().flat_map(|file| {
        suffixes.map(|suffix| {
            let mut file = file.clone().into_os_string();
            file.push(suffix);
            PathBuf::from(file)
        })
    });
    [RUNTIME_CONFIG, STATE]
        .map(PathBuf::from)
        .into_iter()
        .chain(files)
        .collect()
}

/// The text of a file at the root; `None` where there is none.
fn text(open: Open, path: &'static str) -> Result<Option<String>, SpinError> {
    let read = |source| SpinError::Read { path, source };
    let bytes = match bytes(open, Path::new(path)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(read(error)),
    };
    let text = String::from_utf8(bytes).map_err(|error| {
        let before = error.as_bytes().get(..error.utf8_error().valid_up_to());
        let line = before.map_or(0, |before| before.iter().filter(|byte| **byte == b'\n').count());
        read(io::Error::other(format!("line {} is not UTF-8", line + 1)))
    })?;
    Ok(Some(text))
}

/// The content of a file, which is refused where it is longer than a manifest may be.
fn bytes(open: Open, path: &Path) -> io::Result<Vec<u8>> {
    let file = open(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?;
    if !is_file(&file)? {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    let limit = manifest::MAX_SIZE;
    File::from(file).take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::other(format!(
            "it has more than the {limit} bytes that are read"
        )));
    }
    Ok(bytes)
}

fn is_file(file: &OwnedFd) -> io::Result<bool> {
    let kind = FileType::from_raw_mode(rustix::fs::fstat(file)?.st_mode);
    Ok(kind == FileType::RegularFile)
}

fn source(open: Open, id: &str, component: &Component) -> Result<Source, SpinError> {
    let path = Path::new("/").join(&component.source);
    let wrong = |reason: String| {
        let reason = format!("{}: {reason}", path.display());
        SpinError::Manifest(ManifestError::at(format!("{}.source", component.key), reason))
    };
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = open(&path, flags).map_err(|error| wrong(io::Error::from(error).to_string()))?;
    if !is_file(&file).map_err(|error| wrong(error.to_string()))? {
        return Err(wrong("it is not a regular file".to_owned()));
    }
    Ok(Source {
        name: format!("{MANIFEST}: component `{id}`: {}", path.display()),
        file,
        world: World::Spin,
    })
}

/// The triggers by messages, with their variables filled in.
fn subscriptions(
    triggers: Vec<RedisTrigger>,
    values: &BTreeMap<String, String>,
) -> Result<Vec<Subscription>, ManifestError> {
    let subscription = |trigger: RedisTrigger| {
        let at = |name: &str| format!("{}.{name}", trigger.key);
        let address = trigger.address.as_ref().ok_or_else(|| {
            let reason = "is missing, and there is none for all in application.trigger.redis.address";
            ManifestError::at(at("address"), reason)
        })?;
        let address = address.fill(values);
        // What is wrong is told without the address, which may have a password in it.
        Server::parse(&address).map_err(|reason| ManifestError::at(at("address"), reason))?;
        let channel = trigger.channel.fill(values);
        if channel.is_empty() {
            return Err(ManifestError::at(at("channel"), "is empty"));
        }
        Ok(Subscription {
            component: trigger.component,
            key: trigger.key,
            channel,
            address,
        })
    };
    triggers.into_iter().map(subscription).collect()
}

/// What a component may use, with its variables filled in. `used` are the components that it may call.
fn grants(
    id: &str,
    component: &Component,
    values: &BTreeMap<String, String>,
    used: &BTreeSet<&str>,
) -> Result<Grants, ManifestError> {
    let mut hosts = Vec::new();
    for (at, template) in component.allowed_outbound_hosts.iter().enumerate() {
        let host = template.fill(values);
        let key = || format!("{}.allowed_outbound_hosts[{at}]", component.key);
        // Told by what is written: the values of variables may be secrets.
        let wrong = |reason: String| ManifestError::at(key(), format!("`{template}` {reason}"));
        AllowedHosts::parse(&[&host]).map_err(|error| wrong(error.reason.to_owned()))?;
        if let Some(other) = internal(&host)
            && other != "*"
            && !used.iter().any(|id| id.eq_ignore_ascii_case(other))
        {
            return Err(wrong("names no component that has a trigger".to_owned()));
        }
        hosts.push(host);
    }
    let at = |name: &str| format!("{}.{name}", component.key);
    let old = AllowedHosts::parse_old(&component.allowed_http_hosts, component.any_database)
        .map_err(|error| ManifestError::at(at("allowed_http_hosts"), error.to_string()))?;
    let allowed_hosts = AllowedHosts::parse(&hosts)
        .map_err(|error| ManifestError::at(at("allowed_outbound_hosts"), error.reason))?;
    let filled = |(name, template): (&String, &manifest::Template)| (name.clone(), template.fill(values));
    Ok(Grants {
        component: id.to_owned(),
        variables: component.variables.iter().map(filled).collect(),
        key_value_stores: component.key_value_stores.clone(),
        sqlite_databases: component.sqlite_databases.clone(),
        allowed_hosts: allowed_hosts.with(old),
    })
}

/// Bytes that one instance may have: what the container's environment says goes before what the image does.
fn instance_memory(settings: &Settings, config: &RuntimeConfig) -> Option<usize> {
    let configured = config.max_instance_memory;
    let configured = configured.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
    settings.instance_memory.or(configured)
}

/// The component that an allowed host is, where it is one.
fn internal(host: &str) -> Option<&str> {
    let (_, host) = host.split_once("://")?;
    let host = host.split([':', '/']).next()?;
    host.strip_suffix(INTERNAL)?.strip_suffix('.')
}

/// Whether any host is allowed whatever is spoken with it, as it must be for a socket.
fn has_sockets(component: &Component, values: &BTreeMap<String, String>) -> bool {
    let mut hosts = component.allowed_outbound_hosts.iter();
    hosts.any(|template| template.fill(values).starts_with("*://"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants_of(host: &str, value: &str) -> Result<Grants, ManifestError> {
        let text = format!(
            "spin_manifest_version = 2\n[application]\nname = 'a'\n[variables]\nv = {{ default = 'x' }}\n\
             [[trigger.http]]\nroute = '/'\ncomponent = 'API'\n[component.API]\nsource = 'a.wasm'\n\
             allowed_outbound_hosts = [\"{host}\"]\n"
        );
        let manifest = Manifest::parse(&text).expect("a manifest");
        let values = BTreeMap::from([("v".to_owned(), value.to_owned())]);
        grants("API", &manifest.components["API"], &values, &manifest.used())
    }

    #[test]
    fn errors_do_not_tell_the_values_of_variables() {
        for (host, value) in [
            ("http://{{ v }}", "a secret/path"),
            ("{{ v }}", "secret"),
            ("http://{{ v }}.spin.internal", "secret"),
        ] {
            let error = grants_of(host, value).expect_err(host).to_string();
            assert!(error.contains(host) && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_component_is_called_in_any_case() {
        for host in ["http://API.spin.internal", "http://api.spin.internal"] {
            let grants = grants_of(host, "").expect(host);
            assert!(grants.allowed_hosts.allows_component("api"), "{host}");
        }
    }

    #[test]
    fn the_environment_s_memory_goes_before_the_file_s() {
        let config = |text| RuntimeConfig::parse(text).expect("a configuration");
        let settings = |memory: &str| {
            let env = [("SPIN_MAX_INSTANCE_MEMORY".to_owned(), memory.to_owned())];
            Settings::of(&env).expect("settings")
        };
        let (none, some) = (config(""), config("max_instance_memory = 65536"));
        assert_eq!(instance_memory(&settings("131072"), &some), Some(131_072));
        let unset = Settings::of(&[]).expect("settings");
        assert_eq!(instance_memory(&unset, &some), Some(65536));
        assert_eq!(instance_memory(&unset, &none), None);
    }
}
