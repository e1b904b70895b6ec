//! New limits for a container that lives: written, and taken back where one of them cannot be.

use crate::plan::cgroup::{CgroupMode, IfAbsent, Setting};

use super::tree::Tree;
use super::{Cgroup, CgroupError, file, systemd};

impl Cgroup {
    /// The values that are now where `settings` would write, for [`Self::restore`]. What holds nothing to go
    /// back to, since it is missing or can only be written, is left out.
    ///
    /// # Errors
    /// A container without a cgroup, or one that is gone.
    pub fn present(&mut self, settings: &[Setting]) -> Result<Vec<Setting>, CgroupError> {
        if !settings.is_empty() && self.trees.is_empty() {
            return Err(CgroupError::NoTree { verb: "limit" });
        }
        for tree in &mut self.trees {
            tree.open()?;
        }
        let mut old: Vec<Setting> = settings
            .iter()
            .filter_map(|setting| present(self.tree(&setting.controller)?, setting))
            .collect();
        self.add_weight(&mut old);
        Ok(old)
    }

    /// The kernel sets the weight itself when it makes a cgroup idle or ends that. So it has to be put back with
    /// that, and after it; that of an idle one cannot be written.
    fn add_weight(&self, old: &mut Vec<Setting>) {
        let Some(idle) = old.iter().find(|setting| setting.file == "cpu.idle").cloned() else {
            return;
        };
        let weight = match self.mode {
            CgroupMode::V1 => "cpu.shares",
            CgroupMode::V2 => "cpu.weight",
        };
        old.retain(|setting| setting.file != weight);
        if idle.value == "0" {
            let weight = Setting {
                file: weight.to_owned(),
                ..idle
            };
            old.extend(
                self.tree(&weight.controller)
                    .and_then(|tree| present(tree, &weight)),
            );
        }
    }

    /// Writes settings of a living container, after [`Self::present`]. systemd is told first, where the cgroup
    /// is a scope of its: it writes its files anew when it sees fit, and in words of its own.
    ///
    /// # Errors
    /// The first setting that cannot be made, by its property; those before it are made then.
    pub fn update(&self, settings: &[Setting]) -> Result<(), CgroupError> {
        systemd::set(&self.location, self.mode, settings)?;
        self.apply(settings)
    }

    /// Puts back what [`Self::present`] found, all that can be.
    ///
    /// # Errors
    /// The first value that could not be put back.
    pub fn restore(&self, old: &[Setting]) -> Result<(), CgroupError> {
        let mut first = systemd::set(&self.location, self.mode, old);
        // As in `apply`, some may have to wait for others.
        let mut left: Vec<(&Setting, Option<CgroupError>)> = old.iter().map(|it| (it, None)).collect();
        for _ in 0..2 {
            left.retain_mut(|(setting, error)| {
                *error = self.apply(std::slice::from_ref(*setting)).err();
                error.is_some()
            });
        }
        for (_, error) in left {
            first = first.and(error.map_or(Ok(()), Err));
        }
        first
    }

    /// Refuses a memory limit that what is in use exceeds already, which the kernel would enforce by killing.
    /// v1 refuses by itself.
    ///
    /// # Errors
    /// The limit and the use, in runc's words.
    pub fn check_memory(&self, limit: Option<i64>, swap: Option<i64>) -> Result<(), CgroupError> {
        let Some(usage) = self
            .tree("")
            .and_then(|tree| std::fs::read_to_string(tree.path.join("memory.current")).ok())
            .and_then(|text| text.trim().parse::<u64>().ok())
        else {
            // Asked for as far as it can be done, as runc: without the controller there is no limit either.
            return Ok(());
        };
        for (what, wanted) in [("memory+swap", swap), ("memory", limit)] {
            let wanted = wanted.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0);
            if wanted != 0 && wanted <= usage {
                return Err(CgroupError::BelowUsage { what, wanted, usage });
            }
        }
        Ok(())
    }
}

/// The value that is there now, as a setting that would bring it back.
fn present(tree: &Tree, setting: &Setting) -> Option<Setting> {
    let dir = tree.dir().ok()?;
    let read = |file: &str| file::read(dir, file).ok();
    let (file, value, text) = match (read(&setting.file), &setting.if_absent) {
        (Some(text), _) => (&setting.file, &setting.value, text),
        (None, IfAbsent::Write { file, value }) => (file, value, read(file)?),
        (None, _) => return None,
    };
    Some(Setting {
        file: file.clone(),
        value: old_value(file, value, &text)?,
        if_absent: IfAbsent::Fail,
        ..setting.clone()
    })
}

/// What must be written into `file` to undo the writing of `value`, where it held `text` before. Files with a
/// line for each device (or interface) take such lines, too; one that had none gets the value that means so.
fn old_value(file: &str, value: &str, text: &str) -> Option<String> {
    let one_value = file == "cpu.max" || file.starts_with("cpuset.");
    let key = value.split_once(' ').filter(|_| !one_value);
    let Some((key, new)) = key else {
        let line = text.lines().next().unwrap_or_default().trim();
        return match file {
            // `oom_kill_disable 0`
            "memory.oom_control" => line.split(' ').next_back().map(str::to_owned),
            // An empty set needs something that can be written.
            _ if line.is_empty() => Some("\n".to_owned()),
            _ => Some(line.to_owned()),
        };
    };
    let had = text.lines().find(|line| line.split(' ').next() == Some(key));
    if let Some(line) = had {
        return Some(line.trim().to_owned());
    }
    let without = match file {
        "io.max" | "rdma.max" => {
            let keys = new.split(' ').filter_map(|pair| pair.split_once('='));
            let pairs: Vec<String> = keys.map(|(key, _)| format!("{key}=max")).collect();
            pairs.join(" ")
        }
        "io.weight" | "io.bfq.weight" => "default".to_owned(),
        file if file.starts_with("blkio.throttle.") => "0".to_owned(),
        file if file.ends_with("weight_device") => "default".to_owned(),
        _ => return None,
    };
    Some(format!("{key} {without}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::plan::cgroup::{Location, Placement, settings};

    /// What is put back after an update of a cgroup of v2 with these files.
    fn old_of(json: &str, files: &[(&str, &str)]) -> Vec<(String, String)> {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let mut cgroup = Cgroup::open(&Placement {
            mode: CgroupMode::V2,
            location: Location::None,
            paths: BTreeMap::from([(String::new(), dir.path().to_owned())]),
        });
        let settings = settings(&serde_json::from_str(json).unwrap(), CgroupMode::V2).unwrap();
        let old = cgroup.present(&settings).unwrap();
        old.into_iter().map(|old| (old.file, old.value)).collect()
    }

    #[test]
    fn the_weight_is_put_back_with_idleness() {
        let pair = |file: &str, value: &str| (file.to_owned(), value.to_owned());
        let awake = [("cpu.idle", "0\n"), ("cpu.weight", "39\n")];
        let expected = [pair("cpu.idle", "0"), pair("cpu.weight", "39")];
        assert_eq!(old_of(r#"{"cpu": {"idle": 1}}"#, &awake), expected);
        assert_eq!(
            old_of(r#"{"cpu": {"idle": 1, "shares": 1024}}"#, &awake),
            expected
        );
        let idle = [("cpu.idle", "1\n"), ("cpu.weight", "0\n")];
        let shares = r#"{"cpu": {"idle": 0, "shares": 1024}}"#;
        assert_eq!(old_of(shares, &idle), [pair("cpu.idle", "1")]);
    }

    #[test]
    fn old_values_are_in_the_form_that_can_be_written() {
        for (file, value, text, old) in [
            ("memory.max", "100", "max\n", Some("max")),
            ("cpu.max", "5 100", "max 100000\n", Some("max 100000")),
            ("cpuset.cpus", "0", "\n", Some("\n")),
            ("cpuset.cpus", "0, 2", "0-3\n", Some("0-3")),
            ("io.weight", "50", "default 100\n8:0 7\n", Some("default 100")),
            ("io.weight", "8:0 50", "default 100\n8:0 7\n", Some("8:0 7")),
            (
                "io.weight",
                "8:16 50",
                "default 100\n8:0 7\n",
                Some("8:16 default"),
            ),
            (
                "io.max",
                "8:0 rbps=1",
                "8:0 rbps=max wbps=9 riops=max wiops=max\n",
                Some("8:0 rbps=max wbps=9 riops=max wiops=max"),
            ),
            ("io.max", "8:0 rbps=1", "", Some("8:0 rbps=max")),
            (
                "rdma.max",
                "mlx hca_handle=2 hca_object=3",
                "",
                Some("mlx hca_handle=max hca_object=max"),
            ),
            ("blkio.throttle.read_bps_device", "8:0 5", "", Some("8:0 0")),
            ("blkio.bfq.weight_device", "8:0 5", "", Some("8:0 default")),
            ("net_prio.ifpriomap", "eth0 2", "lo 0\neth0 1\n", Some("eth0 1")),
            (
                "memory.oom_control",
                "1",
                "oom_kill_disable 0\nunder_oom 0\n",
                Some("0"),
            ),
            ("misc.max", "res 3", "", None),
        ] {
            assert_eq!(old_value(file, value, text).as_deref(), old, "{file} {value}");
        }
    }
}
