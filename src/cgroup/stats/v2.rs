//! The figures of cgroup v2.

use super::model::{BlockIo, BlockIoEntry, HugePages, MemoryEntry, Pids, Pressure, PressureLine, Stats};
use super::{Files, huge_page_sizes};
use crate::cgroup::CgroupError;

/// `lenient`: see [`super::Cgroup::stats`].
pub(super) fn read(files: &Files<'_>, lenient: bool, stats: &mut Stats) -> Result<(), CgroupError> {
    type Part = fn(&Files<'_>, &mut Stats) -> Result<(), CgroupError>;
    let parts: [Part; 5] = [pids, memory, block_io, cpu, huge_pages];
    for part in parts {
        match part(files, stats) {
            Err(_) if lenient => {}
            result => result?,
        }
    }
    Ok(())
}

/// Also those of v1, whose files are the same.
pub(super) fn pids(files: &Files<'_>, stats: &mut Stats) -> Result<(), CgroupError> {
    let (current, limit) = match files.number("pids.current")? {
        Some(current) => (current, files.number("pids.max")?.unwrap_or(u64::MAX)),
        // Without the controller there is still the list, of this cgroup alone.
        None => (listed(files)?, u64::MAX),
    };
    stats.pids = Pids {
        current,
        limit: if limit == u64::MAX { 0 } else { limit },
    };
    Ok(())
}

fn listed(files: &Files<'_>) -> Result<u64, CgroupError> {
    let list = match files.text("cgroup.procs") {
        // A threaded cgroup lists only its threads.
        Err(CgroupError::Io { source, .. }) if source.raw_os_error() == Some(libc::EOPNOTSUPP) => {
            files.text("cgroup.threads")?
        }
        list => list?,
    };
    Ok(list.map_or(0, |list| list.lines().count() as u64))
}

fn memory(files: &Files<'_>, stats: &mut Stats) -> Result<(), CgroupError> {
    let memory = &mut stats.memory;
    memory.psi = pressure(files, "memory.pressure")?;
    let Some(raw) = files.table("memory.stat")? else {
        return Ok(());
    };
    memory.cache = raw.get("file").copied().unwrap_or(0);
    memory.raw = raw;
    // `memory.peak` came with Linux 5.19.
    let (usage, limit) = (files.required("memory.current")?, files.required("memory.max")?);
    memory.usage = MemoryEntry {
        usage,
        limit,
        max: files.number("memory.peak")?.unwrap_or(0),
        failcnt: 0,
    };
    // Of both together, as v1 counts; there is no file for the most of both.
    let swap = files.number("memory.swap.current")?;
    let swap_limit = match swap {
        Some(_) => files.required("memory.swap.max")?,
        None => 0,
    };
    memory.swap = MemoryEntry {
        usage: swap.unwrap_or(0).saturating_add(usage),
        limit: swap_limit.saturating_add(limit),
        max: 0,
        failcnt: 0,
    };
    Ok(())
}

fn block_io(files: &Files<'_>, stats: &mut Stats) -> Result<(), CgroupError> {
    let io = &mut stats.blkio;
    io.psi = pressure(files, "io.pressure")?;
    let name = "io.stat";
    for line in files.text(name)?.unwrap_or_default().lines() {
        let mut words = line.split_whitespace();
        let device = words.next().unwrap_or_default();
        let figures: Vec<&str> = words.collect();
        if figures.is_empty() {
            // The kernel leaves a device without figures on a line of its own.
            continue;
        }
        let (major, minor) = device
            .split_once(':')
            .ok_or_else(|| files.malformed(name, line))?;
        let (major, minor) = (files.parse(name, major)?, files.parse(name, minor)?);
        for (key, value) in figures.iter().filter_map(|figure| figure.split_once('=')) {
            if let Some((list, op)) = place(io, key) {
                list.push(BlockIoEntry {
                    major,
                    minor,
                    op: op.to_owned(),
                    value: files.parse(name, value)?,
                });
            }
        }
    }
    Ok(())
}

/// Where a figure of `io.stat` belongs among those of v1, if it is among them.
fn place<'a>(io: &'a mut BlockIo, key: &str) -> Option<(&'a mut Vec<BlockIoEntry>, &'static str)> {
    match key {
        "rbytes" => Some((&mut io.io_service_bytes_recursive, "Read")),
        "wbytes" => Some((&mut io.io_service_bytes_recursive, "Write")),
        "rios" => Some((&mut io.io_serviced_recursive, "Read")),
        "wios" => Some((&mut io.io_serviced_recursive, "Write")),
        _ => None,
    }
}

fn cpu(files: &Files<'_>, stats: &mut Stats) -> Result<(), CgroupError> {
    let cpu = &mut stats.cpu;
    cpu.psi = pressure(files, "cpu.pressure")?;
    let table = files.table("cpu.stat")?.unwrap_or_default();
    let number = |key| table.get(key).copied().unwrap_or(0);
    let nanoseconds = |key| number(key).saturating_mul(1000);
    cpu.usage.total = nanoseconds("usage_usec");
    cpu.usage.user = nanoseconds("user_usec");
    cpu.usage.kernel = nanoseconds("system_usec");
    cpu.throttling.periods = number("nr_periods");
    cpu.throttling.throttled_periods = number("nr_throttled");
    cpu.throttling.throttled_time = nanoseconds("throttled_usec");
    Ok(())
}

fn huge_pages(files: &Files<'_>, stats: &mut Stats) -> Result<(), CgroupError> {
    for size in huge_page_sizes() {
        let reserved = files.number(&format!("hugetlb.{size}.rsvd.current"))?;
        let usage = match reserved {
            Some(usage) => Some(usage),
            None => files.number(&format!("hugetlb.{size}.current"))?,
        };
        let Some(usage) = usage else { continue };
        let events = files
            .table(&format!("hugetlb.{size}.events"))?
            .unwrap_or_default();
        let pages = HugePages {
            usage,
            max: 0,
            failcnt: events.get("max").copied().unwrap_or(0),
        };
        stats.hugetlb.insert(size, pages);
    }
    Ok(())
}

/// Lines of `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`. `None` where the kernel does not tell: it has
/// no such file, or refuses to read it when it was started without `psi=1`.
fn pressure(files: &Files<'_>, name: &str) -> Result<Option<Pressure>, CgroupError> {
    let text = match files.text(name) {
        Err(CgroupError::Io { source, .. }) if source.raw_os_error() == Some(libc::EOPNOTSUPP) => None,
        text => text?,
    };
    let Some(text) = text else { return Ok(None) };
    let mut pressure = Pressure::default();
    for line in text.lines() {
        let (kind, figures) = line.split_once(' ').unwrap_or((line, ""));
        let target = match kind {
            "some" => &mut pressure.some,
            "full" => &mut pressure.full,
            _ => continue,
        };
        *target = pressure_line(figures).ok_or_else(|| files.malformed(name, line))?;
    }
    Ok(Some(pressure))
}

fn pressure_line(figures: &str) -> Option<PressureLine> {
    let mut line = PressureLine::default();
    for figure in figures.split_whitespace() {
        let (key, value) = figure.split_once('=')?;
        match key {
            "avg10" => line.avg10 = value.parse().ok()?,
            "avg60" => line.avg60 = value.parse().ok()?,
            "avg300" => line.avg300 = value.parse().ok()?,
            "total" => line.total = value.parse().ok()?,
            _ => {}
        }
    }
    Some(line)
}

#[cfg(test)]
mod tests {
    use super::super::tests::directory;
    use super::*;

    fn stats(list: &[(&str, &str)]) -> Stats {
        let dir = directory(list);
        let mut stats = Stats::default();
        read(&Files(dir.path()), false, &mut stats).unwrap();
        stats
    }

    #[test]
    fn every_controller() {
        let stats = stats(&[
            ("pids.current", "4\n"),
            ("pids.max", "max\n"),
            ("memory.stat", "anon 8192\nfile 4096\n"),
            ("memory.current", "16384\n"),
            ("memory.max", "1048576\n"),
            ("memory.peak", "20480\n"),
            ("memory.swap.current", "512\n"),
            ("memory.swap.max", "1024\n"),
            (
                "memory.pressure",
                "some avg10=1.50 avg60=0.00 avg300=0.00 total=17\nfull avg10=0.00 total=2\n",
            ),
            (
                "io.stat",
                "8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n7:0 \n",
            ),
            (
                "cpu.stat",
                "usage_usec 30\nuser_usec 10\nsystem_usec 20\nnr_periods 5\nnr_throttled 3\nthrottled_usec 7\n",
            ),
        ]);
        assert_eq!((stats.pids.current, stats.pids.limit), (4, 0));
        assert_eq!(stats.memory.cache, 4096);
        let entry = |limit, usage, max| MemoryEntry {
            limit,
            usage,
            max,
            failcnt: 0,
        };
        assert_eq!(stats.memory.usage, entry(1_048_576, 16384, 20480));
        assert_eq!(stats.memory.swap, entry(1_049_600, 16896, 0));
        let psi = stats.memory.psi.unwrap();
        assert_eq!((psi.some.avg10, psi.some.total, psi.full.total), (1.5, 17, 2));
        assert_eq!(stats.cpu.psi, None);
        let io: Vec<(&str, u64)> = stats
            .blkio
            .io_service_bytes_recursive
            .iter()
            .map(|it| (it.op.as_str(), it.value))
            .collect();
        assert_eq!(io, [("Read", 10), ("Write", 20)]);
        assert_eq!(stats.blkio.io_serviced_recursive.len(), 2);
        let usage = &stats.cpu.usage;
        assert_eq!((usage.total, usage.user, usage.kernel), (30_000, 10_000, 20_000));
        let throttling = &stats.cpu.throttling;
        assert_eq!(
            (
                throttling.periods,
                throttling.throttled_periods,
                throttling.throttled_time
            ),
            (5, 3, 7000)
        );
    }

    #[test]
    fn without_limits_and_without_controllers() {
        let unlimited = stats(&[
            ("memory.stat", "anon 1\n"),
            ("memory.current", "9\n"),
            ("memory.max", "max\n"),
            ("memory.swap.current", "1\n"),
            ("memory.swap.max", "max\n"),
        ]);
        assert_eq!(unlimited.memory.usage.limit, u64::MAX);
        assert_eq!(unlimited.memory.swap.limit, u64::MAX);
        let bare = stats(&[("cgroup.procs", "1\n2\n")]);
        assert_eq!((bare.pids.current, bare.pids.limit), (2, 0));
    }

    #[test]
    fn what_is_wrong_is_named_unless_it_may_be() {
        let dir = directory(&[("cpu.stat", "usage_usec x\n"), ("cpu.pressure", "some avg10=x\n")]);
        let files = Files(dir.path());
        let error = read(&files, false, &mut Stats::default())
            .unwrap_err()
            .to_string();
        assert!(error.contains("cpu.pressure"), "{error}");
        read(&files, true, &mut Stats::default()).unwrap();
    }
}
