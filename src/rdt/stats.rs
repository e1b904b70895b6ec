//! What resctrl says of a container's groups, in the form in which runc's `events` writes it.

use std::fs;
use std::path::Path;

use serde::Serialize;

use super::{Placement, RdtError, failed, find_mount};

/// Empty for a container without a class.
#[derive(Debug, Default, Serialize)]
pub struct Stats {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub l3_cache_info: Option<CacheInfo>,
    /// The line of the default class.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub l3_cache_schema_root: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub l3_cache_schema: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mem_bw_info: Option<BandwidthInfo>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mem_bw_schema_root: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mem_bw_schema: String,
    /// All lines of the class.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub schemata: Vec<String>,
    /// By node; of the container's own monitoring group where it has one, else of the class.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mbm_stats: Option<Vec<Bandwidth>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmt_stats: Option<Vec<Occupancy>>,
}

#[derive(Debug, Serialize)]
pub struct CacheInfo {
    pub cbm_mask: String,
    pub min_cbm_bits: u64,
    pub num_closids: u64,
}

#[derive(Debug, Serialize)]
pub struct BandwidthInfo {
    pub bandwidth_gran: u64,
    pub delay_linear: u64,
    pub min_bandwidth: u64,
    pub num_closids: u64,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Bandwidth {
    pub mbm_total_bytes: u64,
    pub mbm_local_bytes: u64,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Occupancy {
    pub llc_occupancy: u64,
}

/// Reads the figures.
///
/// # Errors
/// A file of resctrl that cannot be read.
pub fn stats(placement: Option<&Placement>) -> Result<Stats, RdtError> {
    match placement {
        Some(placement) => read(&find_mount()?, placement),
        None => Ok(Stats::default()),
    }
}

fn read(mount: &Path, placement: &Placement) -> Result<Stats, RdtError> {
    let root = text(mount, &mount.join("schemata"))?;
    let class = text(mount, &placement.class.join("schemata"))?;
    let mut stats = Stats {
        schemata: class.lines().map(str::to_owned).collect(),
        ..Stats::default()
    };
    let cache = mount.join("info/L3");
    if cache.is_dir() {
        stats.l3_cache_info = Some(CacheInfo {
            cbm_mask: text(mount, &cache.join("cbm_mask"))?,
            min_cbm_bits: number(mount, &cache.join("min_cbm_bits"))?,
            num_closids: number(mount, &cache.join("num_closids"))?,
        });
        stats.l3_cache_schema_root = line_of(&root, "L3");
        stats.l3_cache_schema = line_of(&class, "L3");
    }
    let bandwidth = mount.join("info/MB");
    if bandwidth.is_dir() {
        stats.mem_bw_info = Some(BandwidthInfo {
            bandwidth_gran: number(mount, &bandwidth.join("bandwidth_gran"))?,
            delay_linear: number(mount, &bandwidth.join("delay_linear"))?,
            min_bandwidth: number(mount, &bandwidth.join("min_bandwidth"))?,
            num_closids: number(mount, &bandwidth.join("num_closids"))?,
        });
        stats.mem_bw_schema_root = line_of(&root, "MB");
        stats.mem_bw_schema = line_of(&class, "MB");
    }
    monitoring(mount, placement, &mut stats)?;
    Ok(stats)
}

fn monitoring(mount: &Path, placement: &Placement, stats: &mut Stats) -> Result<(), RdtError> {
    let features = mount.join("info/L3_MON/mon_features");
    if !features.exists() {
        return Ok(());
    }
    let features = text(mount, &features)?;
    let has = |feature: &str| features.lines().any(|line| line == feature);
    let [total, local, occupancy] = ["mbm_total_bytes", "mbm_local_bytes", "llc_occupancy"].map(has);
    let group = placement.monitoring.as_ref().unwrap_or(&placement.class);
    let data = group.join("mon_data");
    let mut nodes = Vec::new();
    for entry in fs::read_dir(&data).map_err(failed(mount, "list", &data))? {
        nodes.push(entry.map_err(failed(mount, "list", &data))?.path());
    }
    nodes.sort();
    let (mut bandwidths, mut occupancies) = (Vec::new(), Vec::new());
    for node in nodes {
        let figure = |there: bool, name: &str| match there {
            true => number(mount, &node.join(name)),
            false => Ok(0),
        };
        bandwidths.push(Bandwidth {
            mbm_total_bytes: figure(total, "mbm_total_bytes")?,
            mbm_local_bytes: figure(local, "mbm_local_bytes")?,
        });
        occupancies.push(Occupancy {
            llc_occupancy: figure(occupancy, "llc_occupancy")?,
        });
    }
    stats.mbm_stats = (total || local).then_some(bandwidths);
    stats.cmt_stats = occupancy.then_some(occupancies);
    Ok(())
}

/// The last line of a resource, also of one in parts (`L3CODE`), as runc.
fn line_of(schemata: &str, resource: &str) -> String {
    let line = schemata.lines().rfind(|line| line.contains(resource));
    line.unwrap_or_default().trim().to_owned()
}

fn text(mount: &Path, path: &Path) -> Result<String, RdtError> {
    let text = fs::read_to_string(path).map_err(failed(mount, "read", path))?;
    Ok(text.trim().to_owned())
}

fn number(mount: &Path, path: &Path) -> Result<u64, RdtError> {
    let wrong = |_| std::io::Error::from(std::io::ErrorKind::InvalidData);
    text(mount, path)?
        .parse()
        .map_err(wrong)
        .map_err(failed(mount, "read", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resctrl() -> (tempfile::TempDir, Placement) {
        let mount = tempfile::tempdir().unwrap();
        for (path, text) in [
            ("schemata", "    MB:0=100\n    L3:0=fff\n"),
            ("c1/schemata", "    MB:0=20\n    L3:0=00f\n"),
            ("info/L3/cbm_mask", "fff\n"),
            ("info/L3/min_cbm_bits", "1\n"),
            ("info/L3/num_closids", "16\n"),
            ("info/L3_MON/mon_features", "llc_occupancy\nmbm_total_bytes\n"),
            ("c1/mon_data/mon_L3_00/llc_occupancy", "4096\n"),
            ("c1/mon_data/mon_L3_00/mbm_total_bytes", "77\n"),
        ] {
            let path = mount.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let placement = Placement {
            class: mount.path().join("c1"),
            own_class: true,
            monitoring: None,
        };
        (mount, placement)
    }

    #[test]
    fn figures_have_runcs_names() {
        let (mount, placement) = resctrl();
        let stats = read(mount.path(), &placement).unwrap();
        assert_eq!(
            serde_json::to_value(&stats).unwrap(),
            serde_json::json!({
                "l3_cache_info": { "cbm_mask": "fff", "min_cbm_bits": 1, "num_closids": 16 },
                "l3_cache_schema_root": "L3:0=fff",
                "l3_cache_schema": "L3:0=00f",
                "schemata": ["MB:0=20", "    L3:0=00f"],
                "mbm_stats": [{ "mbm_total_bytes": 77, "mbm_local_bytes": 0 }],
                "cmt_stats": [{ "llc_occupancy": 4096 }],
            })
        );
        assert_eq!(serde_json::to_string(&super::stats(None).unwrap()).unwrap(), "{}");
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let (mount, placement) = resctrl();
        fs::write(mount.path().join("info/L3/num_closids"), "many\n").unwrap();
        let error = read(mount.path(), &placement).unwrap_err().to_string();
        assert!(error.contains("info/L3/num_closids"), "{error}");
    }
}
