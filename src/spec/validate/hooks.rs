//! Hooks (config.md, "POSIX-platform Hooks").

use super::{Check, Problem};
use crate::spec::model::Config;

pub(super) const CHECKS: &[Check<Config>] = &[hooks];

fn hooks(config: &Config, _: &mut Vec<String>) -> Result<(), Problem> {
    for (list, hooks) in config.hooks.lists() {
        for (index, hook) in hooks.iter().enumerate() {
            let field = format!("hooks.{list}[{index}]");
            if !hook.path.is_absolute() {
                return Err(Problem::new(
                    format!("{field}.path"),
                    format!("{:?} is not an absolute path", hook.path),
                ));
            }
            if let Some(timeout) = hook.timeout.filter(|timeout| *timeout <= 0) {
                return Err(Problem::new(
                    format!("{field}.timeout"),
                    format!("{timeout} is not above 0"),
                ));
            }
        }
    }
    Ok(())
}
