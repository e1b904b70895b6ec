//! Reading an application in its container, when it is made: all that can be wrong with it but its code is told here.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{FileType, OFlags};

use super::directory::Directory;
use super::host::App;
use super::keyvalue::{Server, Stores};
use super::messaging::Broker;
use super::slightfile::{self, Capability, Config, Name, Resource, Slightfile, SlightfileError};
use super::{Application, MODULE, SLIGHTFILE, SlightError};
use crate::workload::wasm::application::{Open, Source, Surroundings};
use crate::workload::wasm::kinds::World;

/// Reads the slightfile and what it asks for, and opens the module.
pub fn read(surroundings: Surroundings<'_>) -> Result<(Application, Vec<Source>), SlightError> {
    let Surroundings { env, open, .. } = surroundings;
    let slightfile = Slightfile::parse(&text(open)?)?;
    let mut app = App {
        environment: env.to_vec(),
        ..App::default()
    };
    for capability in &slightfile.capabilities {
        provide(&mut app, capability, env, open)?;
    }
    let kinds: BTreeSet<&'static str> = slightfile
        .capabilities
        .iter()
        .map(|capability| capability.resource.kind())
        .collect();
    let source = Source {
        name: MODULE.to_owned(),
        file: open_file(open, MODULE)?,
        world: World::Slight,
    };
    let application = Application {
        serves: slightfile.serves(),
        kinds,
        app,
    };
    Ok((application, vec![source]))
}

fn open_file(open: Open, path: &'static str) -> Result<OwnedFd, SlightError> {
    let wrong = |source| SlightError::Read { path, source };
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = open(Path::new(path), flags).map_err(|error| wrong(error.into()))?;
    let stat = rustix::fs::fstat(&file).map_err(|error| wrong(error.into()))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(wrong(io::Error::other("it is not a regular file")));
    }
    Ok(file)
}

fn text(open: Open) -> Result<String, SlightError> {
    let wrong = |source| SlightError::Read {
        path: SLIGHTFILE,
        source,
    };
    let limit = slightfile::MAX_SIZE;
    let mut bytes = Vec::new();
    let mut limited = File::from(open_file(open, SLIGHTFILE)?).take(limit + 1);
    limited.read_to_end(&mut bytes).map_err(wrong)?;
    if bytes.len() as u64 > limit {
        return Err(SlightError::TooLarge { limit });
    }
    String::from_utf8(bytes).map_err(|_| wrong(io::Error::other("it is not UTF-8")))
}

/// Adds what stands behind a capability. Nothing is connected to yet.
fn provide(
    app: &mut App,
    capability: &Capability,
    env: &[(String, String)],
    open: Open,
) -> Result<(), SlightfileError> {
    let value = |name: &str, config: &Config| value(capability, name, config, env);
    match &capability.resource {
        Resource::Http | Resource::HttpClient => {}
        Resource::KeyValueFilesystem => {
            // A store is called as the module opens it.
            if let Name::This(name) = &capability.name {
                directory(capability, name, env, open)?;
            }
            app.key_value.add(capability, Stores::Filesystem(open));
        }
        Resource::KeyValueRedis { address } => {
            let address = value("REDIS_ADDRESS", address)?;
            let server =
                Server::parse(&address).map_err(|reason| wrong(capability, "REDIS_ADDRESS", reason))?;
            app.key_value.add(capability, Stores::Redis(Arc::new(server)));
        }
        Resource::MessagingFilesystem => {
            // slight calls it as the capability, whatever the module opens.
            let directory = directory(capability, &capability.name.to_string(), env, open)?;
            app.messaging
                .add(capability, Arc::new(Broker::filesystem(directory)));
        }
        Resource::MessagingNats { address } => {
            let address = value("NATS_ADDRESS", address)?;
            let broker =
                Broker::nats(&address).map_err(|reason| wrong(capability, "NATS_ADDRESS", &reason))?;
            app.messaging.add(capability, Arc::new(broker));
        }
        Resource::MessagingMosquitto { host, port } => {
            let (host, port) = (value("MOSQUITTO_HOST", host)?, value("MOSQUITTO_PORT", port)?);
            let port = port.parse::<u16>().ok().filter(|port| *port > 0);
            let port = port.ok_or_else(|| wrong(capability, "MOSQUITTO_PORT", "is no number of a port"))?;
            app.messaging
                .add(capability, Arc::new(Broker::mosquitto(host, port)));
        }
        Resource::ConfigsEnvironment => app.configs.add(capability, ()),
    }
    Ok(())
}

fn wrong(capability: &Capability, name: &str, reason: &str) -> SlightfileError {
    SlightfileError::at(format!("{}.configs.{name}", capability.key), reason)
}

/// The value of a config; where it is in the environment it may be a secret, and is not repeated in errors.
fn value(
    capability: &Capability,
    name: &str,
    config: &Config,
    env: &[(String, String)],
) -> Result<String, SlightfileError> {
    match config {
        Config::Text(text) => Ok(text.clone()),
        Config::Variable(variable) => {
            let found = env.iter().rfind(|(key, _)| key == variable);
            let missing = || {
                let reason = format!("the container's environment has no {variable}");
                wrong(capability, name, &reason)
            };
            found.map(|(_, value)| value.clone()).ok_or_else(missing)
        }
    }
}

fn directory(
    capability: &Capability,
    name: &str,
    env: &[(String, String)],
    open: Open,
) -> Result<Directory, SlightfileError> {
    Directory::named(name, env, open)
        .map_err(|reason| SlightfileError::at(format!("{}.name", capability.key), reason))
}
