//! The figures of cgroup v1, one controller after the other.

use super::model::{BlockIo, BlockIoEntry, HugePages, MemoryEntry, Stats};
use super::{Files, huge_page_sizes};
use crate::cgroup::CgroupError;

/// A tick of `cpuacct.stat` in nanoseconds: the kernel tells user space of 100 a second on all machines.
const TICK: u64 = 10_000_000;

pub(super) fn read(controller: &str, files: &Files<'_>, stats: &mut Stats) -> Result<(), CgroupError> {
    match controller {
        "cpu" => throttling(files, stats),
        "cpuacct" => cpu(files, stats),
        "cpuset" => cpuset(files, stats),
        "memory" => memory(files, stats),
        "pids" => super::v2::pids(files, stats),
        "blkio" => block_io(files, &mut stats.blkio),
        "hugetlb" => huge_pages(files, stats),
        _ => Ok(()),
    }
}

fn throttling(files: &Files<'_>, stats: &mut Stats) -> Result<(), CgroupError> {
    let table = files.table("cpu.stat")?.unwrap_or_default();
    let number = |key| table.get(key).copied().unwrap_or(0);
    let throttling = &mut stats.cpu.throttling;
    throttling.periods = number("nr_periods");
    throttling.throttled_periods = number("nr_throttled");
    throttling.throttled_time = number("throttled_time");
    Ok(())
}

fn cpu(files: &Files<'_>, stats: &mut Stats) -> Result<(), CgroupError> {
    let usage = &mut stats.cpu.usage;
    let ticks = files.table("cpuacct.stat")?.unwrap_or_default();
    let time = |key| ticks.get(key).copied().unwrap_or(0).saturating_mul(TICK);
    (usage.user, usage.kernel) = (time("user"), time("system"));
    usage.total = files.number("cpuacct.usage")?.unwrap_or(0);
    let name = "cpuacct.usage_percpu";
    let percpu = files.text(name)?.unwrap_or_default();
    usage.percpu = percpu
        .split_whitespace()
        .map(|word| files.parse(name, word))
        .collect::<Result<_, _>>()?;
    // A heading, then: processor, user, system.
    let name = "cpuacct.usage_all";
    for line in files.text(name)?.unwrap_or_default().lines().skip(1) {
        let mut words = line.split_whitespace().skip(1);
        if let (Some(user), Some(kernel)) = (words.next(), words.next()) {
            usage.percpu_user.push(files.parse(name, user)?);
            usage.percpu_kernel.push(files.parse(name, kernel)?);
        }
    }
    Ok(())
}

fn cpuset(files: &Files<'_>, stats: &mut Stats) -> Result<(), CgroupError> {
    let set = &mut stats.cpuset;
    set.cpus = list(files, "cpuset.cpus")?;
    set.mems = list(files, "cpuset.mems")?;
    for (name, figure) in [
        ("cpu_exclusive", &mut set.cpu_exclusive),
        ("mem_hardwall", &mut set.mem_hardwall),
        ("mem_exclusive", &mut set.mem_exclusive),
        ("memory_migrate", &mut set.memory_migrate),
        ("memory_spread_page", &mut set.memory_spread_page),
        ("memory_spread_slab", &mut set.memory_spread_slab),
        ("memory_pressure", &mut set.memory_pressure),
        ("sched_load_balance", &mut set.sched_load_balance),
    ] {
        *figure = files.number(&format!("cpuset.{name}"))?.unwrap_or(0);
    }
    let name = "cpuset.sched_relax_domain_level";
    if let Some(text) = files.text(name)? {
        let level = text.trim().parse().map_err(|_| files.malformed(name, &text))?;
        set.sched_relax_domain_level = level;
    }
    Ok(())
}

/// A list of cpuset(7), `0-2,7`, number by number.
fn list(files: &Files<'_>, name: &str) -> Result<Vec<u16>, CgroupError> {
    let text = files.text(name)?.unwrap_or_default();
    let mut numbers = Vec::new();
    for range in text.trim().split(',').filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        match (first.parse::<u16>(), last.parse::<u16>()) {
            (Ok(first), Ok(last)) if first <= last => numbers.extend(first..=last),
            _ => return Err(files.malformed(name, range)),
        }
    }
    Ok(numbers)
}

fn memory(files: &Files<'_>, stats: &mut Stats) -> Result<(), CgroupError> {
    let Some(raw) = files.table("memory.stat")? else {
        return Ok(());
    };
    let memory = &mut stats.memory;
    memory.cache = raw.get("cache").copied().unwrap_or(0);
    memory.raw = raw;
    memory.usage = memory_entry(files, "memory")?;
    memory.swap = memory_entry(files, "memory.memsw")?;
    memory.kernel = memory_entry(files, "memory.kmem")?;
    memory.kernel_tcp = memory_entry(files, "memory.kmem.tcp")?;
    Ok(())
}

/// Nothing where the kernel does not account for this kind of memory; newer ones have no limit on the
/// kernel's.
fn memory_entry(files: &Files<'_>, kind: &str) -> Result<MemoryEntry, CgroupError> {
    let number = |name: &str| files.number(&format!("{kind}.{name}"));
    let Some(usage) = number("usage_in_bytes")? else {
        return Ok(MemoryEntry::default());
    };
    Ok(MemoryEntry {
        usage,
        max: number("max_usage_in_bytes")?.unwrap_or(0),
        failcnt: number("failcnt")?.unwrap_or(0),
        limit: number("limit_in_bytes")?.unwrap_or(0),
    })
}

/// Where each figure is: the part of the file's name between the scheduler's prefix and `_recursive`, first
/// the one that tells whether the scheduler is there.
type Figure = (&'static str, fn(&mut BlockIo) -> &mut Vec<BlockIoEntry>);

const SCHEDULED: [Figure; 8] = [
    ("sectors", |io| &mut io.sectors_recursive),
    ("io_service_time", |io| &mut io.io_service_time_recursive),
    ("io_wait_time", |io| &mut io.io_wait_time_recursive),
    ("io_merged", |io| &mut io.io_merged_recursive),
    ("io_queued", |io| &mut io.io_queued_recursive),
    ("time", |io| &mut io.io_time_recursive),
    ("io_serviced", |io| &mut io.io_serviced_recursive),
    ("io_service_bytes", |io| &mut io.io_service_bytes_recursive),
];

/// The best source there is, as runc: BFQ (with or without its debugging figures), CFQ, then what the
/// throttling counts, which older kernels do not add up over cgroups below.
fn block_io(files: &Files<'_>, io: &mut BlockIo) -> Result<(), CgroupError> {
    let counts = &SCHEDULED[6..];
    for (prefix, suffix, figures) in [
        ("blkio.bfq.", "_recursive", &SCHEDULED[..]),
        ("blkio.bfq.", "_recursive", counts),
        ("blkio.", "_recursive", &SCHEDULED[..]),
        ("blkio.throttle.", "_recursive", counts),
        ("blkio.throttle.", "", counts),
    ] {
        let mut read = Vec::with_capacity(figures.len());
        for (name, figure) in figures {
            match block_io_entries(files, &format!("{prefix}{name}{suffix}"))? {
                Some(entries) if !entries.is_empty() => read.push((figure, entries)),
                // A source that has never seen a request says nothing; another may.
                _ if read.is_empty() => break,
                _ => read.push((figure, Vec::new())),
            }
        }
        if read.is_empty() {
            continue;
        }
        for (figure, entries) in read {
            *figure(io) = entries;
        }
        return Ok(());
    }
    Ok(())
}

/// Lines of `8:0 Read 1282048`, or `8:0 6792`, and a total.
fn block_io_entries(files: &Files<'_>, name: &str) -> Result<Option<Vec<BlockIoEntry>>, CgroupError> {
    let Some(text) = files.text(name)? else {
        return Ok(None);
    };
    let mut entries = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split([' ', ':']).filter(|word| !word.is_empty()).collect();
        let (major, minor, op, value) = match words[..] {
            ["Total", _] => continue,
            [major, minor, value] => (major, minor, "", value),
            [major, minor, op, value] => (major, minor, op, value),
            _ => return Err(files.malformed(name, line)),
        };
        entries.push(BlockIoEntry {
            major: files.parse(name, major)?,
            minor: files.parse(name, minor)?,
            op: op.to_owned(),
            value: files.parse(name, value)?,
        });
    }
    Ok(Some(entries))
}

fn huge_pages(files: &Files<'_>, stats: &mut Stats) -> Result<(), CgroupError> {
    for size in huge_page_sizes() {
        // What is reserved counts, where the kernel tells.
        for prefix in [format!("hugetlb.{size}.rsvd"), format!("hugetlb.{size}")] {
            let Some(usage) = files.number(&format!("{prefix}.usage_in_bytes"))? else {
                continue;
            };
            let pages = HugePages {
                usage,
                max: files.required(&format!("{prefix}.max_usage_in_bytes"))?,
                failcnt: files.required(&format!("{prefix}.failcnt"))?,
            };
            stats.hugetlb.insert(size, pages);
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::directory;
    use super::*;

    fn stats(controller: &str, list: &[(&str, &str)]) -> Stats {
        let dir = directory(list);
        let mut stats = Stats::default();
        read(controller, &Files(dir.path()), &mut stats).unwrap();
        stats
    }

    #[test]
    fn processors() {
        let stats = stats(
            "cpuacct",
            &[
                ("cpuacct.stat", "user 3\nsystem 2\n"),
                ("cpuacct.usage", "51000000\n"),
                ("cpuacct.usage_percpu", "20000000 31000000 \n"),
                ("cpuacct.usage_all", "cpu user system\n0 11 9\n1 21 10\n"),
            ],
        );
        let json = serde_json::to_string(&stats.cpu.usage).unwrap();
        assert_eq!(
            json,
            r#"{"total":51000000,"percpu":[20000000,31000000],"percpu_kernel":[9,10],"percpu_user":[11,21],"kernel":20000000,"user":30000000}"#
        );
    }

    #[test]
    fn sets_are_lists_of_numbers() {
        let stats = stats(
            "cpuset",
            &[
                ("cpuset.cpus", "0-2,7\n"),
                ("cpuset.mems", "0\n"),
                ("cpuset.sched_load_balance", "1\n"),
                ("cpuset.sched_relax_domain_level", "-1\n"),
            ],
        );
        assert_eq!(stats.cpuset.cpus, [0, 1, 2, 7]);
        assert_eq!(stats.cpuset.mems, [0]);
        assert_eq!(stats.cpuset.sched_load_balance, 1);
        assert_eq!(stats.cpuset.sched_relax_domain_level, -1);
        let dir = directory(&[("cpuset.cpus", "2-1\n")]);
        let error = cpuset(&Files(dir.path()), &mut Stats::default()).unwrap_err();
        assert!(error.to_string().contains("cpuset.cpus"), "{error}");
    }

    #[test]
    fn memory_of_each_kind() {
        let stats = stats(
            "memory",
            &[
                ("memory.stat", "cache 4096\nrss 8192\n"),
                ("memory.usage_in_bytes", "12288\n"),
                ("memory.max_usage_in_bytes", "20480\n"),
                ("memory.failcnt", "3\n"),
                ("memory.limit_in_bytes", "1048576\n"),
                ("memory.kmem.usage_in_bytes", "512\n"),
                ("memory.kmem.max_usage_in_bytes", "1024\n"),
                ("memory.kmem.failcnt", "0\n"),
            ],
        );
        let memory = stats.memory;
        assert_eq!((memory.cache, memory.raw["rss"]), (4096, 8192));
        assert_eq!(
            memory.usage,
            MemoryEntry {
                limit: 1_048_576,
                usage: 12288,
                max: 20480,
                failcnt: 3
            }
        );
        assert_eq!(memory.swap, MemoryEntry::default());
        assert_eq!((memory.kernel.usage, memory.kernel.limit), (512, 0));
    }

    #[test]
    fn block_devices_are_read_from_the_best_source() {
        let throttle = [
            (
                "blkio.throttle.io_serviced_recursive",
                "8:0 Read 1\n8:0 Total 1\nTotal 1\n",
            ),
            (
                "blkio.throttle.io_service_bytes_recursive",
                "8:0 Read 512\nTotal 512\n",
            ),
        ];
        let entry = |op: &str, value| BlockIoEntry {
            major: 8,
            minor: 0,
            op: op.to_owned(),
            value,
        };
        let io = stats("blkio", &throttle).blkio;
        assert_eq!(io.io_serviced_recursive, [entry("Read", 1), entry("Total", 1)]);
        assert_eq!(io.io_service_bytes_recursive, [entry("Read", 512)]);
        let bfq = [
            ("blkio.bfq.io_serviced_recursive", "8:0 Write 2\nTotal 2\n"),
            ("blkio.bfq.io_service_bytes_recursive", "8:0 Write 9\nTotal 9\n"),
        ];
        let io = stats("blkio", &[throttle, bfq].concat()).blkio;
        assert_eq!(io.io_serviced_recursive, [entry("Write", 2)]);
        // A scheduler that was never asked says nothing.
        let idle = [("blkio.bfq.io_serviced_recursive", "Total 0\n")];
        let io = stats("blkio", &[&throttle[..], &idle[..]].concat()).blkio;
        assert_eq!(io.io_serviced_recursive, [entry("Read", 1), entry("Total", 1)]);
        let cfq = [("blkio.sectors_recursive", "8:0 6792\n")];
        assert_eq!(stats("blkio", &cfq).blkio.sectors_recursive, [entry("", 6792)]);
    }

    #[test]
    fn what_is_not_there_counts_nothing() {
        for controller in [
            "cpu", "cpuacct", "cpuset", "memory", "blkio", "devices", "hugetlb",
        ] {
            let stats = stats(controller, &[]);
            let json = serde_json::to_string(&stats).unwrap();
            assert_eq!(
                json,
                serde_json::to_string(&Stats::default()).unwrap(),
                "{controller}"
            );
        }
    }
}
