//! What each of many idle containers of one module keeps in memory: the proportional set size of its process, and whether
//! that grows while nothing happens.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use crate::figures::{Figures, Table};
use crate::measure::time;
use crate::memory::{SAID, kilobytes, wait_until_idle};
use crate::{Bench, Runtime};

/// Of services, which are told of beside; the goal is for commands.
const SERVICES: usize = 100;

const ROWS: [&str; 3] = ["PSS", "private dirty", "growth"];

/// For the small guest `sleep`, and for a `wasi:http` service that waits for requests.
pub fn measure(bench: &Bench, ours: &Runtime) -> Table {
    let number = bench.options.idle;
    let seconds = bench.options.idle_seconds;
    bench
        .place
        .add_guest("http", include_bytes!("../../guests/http-02.wasm"));
    let kinds = [
        ("a waiting command", "/sleep.wasm", number, false),
        ("a wasi:http service", "/http.wasm", SERVICES.min(number), true),
    ];
    let columns = kinds.map(|(name, ..)| name.to_owned()).to_vec();
    let mut table = Table::new("idle", "Idle Wasm containers of one module", "kB each", columns);
    table.note = format!(
        "{number} waiting commands, {} services; growth is the mean over all in {seconds} s",
        SERVICES.min(number)
    );
    let mut cells: [Vec<Option<Figures>>; 3] = Default::default();
    for (_, file, number, service) in kinds {
        let bundle = bench
            .place
            .bundle(&format!("idle{}", file.replace('/', "-")), &[file]);
        let bundle = bundle.to_str().expect("UTF-8");
        let said = bench.place.file("idle-said");
        File::create(&said).expect("a file of ours");
        let pids: Vec<String> = (0..number)
            .map(|at| start(bench, ours, bundle, at, &said))
            .collect();
        let lines = SAID.len() as u64 * number as u64;
        let all_said = || std::fs::metadata(&said).is_ok_and(|file| file.len() == lines);
        for pid in &pids {
            wait_until_idle(pid, || if service { listens(pid) } else { all_said() });
        }
        let look = |field| -> Vec<f64> {
            pids.iter()
                .map(|pid| kilobytes(pid, "smaps_rollup", field) as f64)
                .collect()
        };
        // What reading them costs their processes is in both looks.
        look("Pss:");
        let (pss, dirty) = (look("Pss:"), look("Private_Dirty:"));
        std::thread::sleep(Duration::from_secs(seconds));
        let later = look("Pss:");
        for at in 0..number {
            time(bench.place.command(ours, &["delete", "--force", &id(at)]));
        }
        let growth = (later.iter().sum::<f64>() - pss.iter().sum::<f64>()) / number as f64;
        for (cells, figures) in cells
            .iter_mut()
            .zip([&pss[..], &dirty[..], &[growth]].map(Figures::of))
        {
            cells.push(figures);
        }
    }
    for (name, cells) in ROWS.iter().zip(cells) {
        table.add(name, cells);
    }
    table
}

fn id(at: usize) -> String {
    format!("idle-{at}")
}

/// Whether something listens in the network namespace of a process (proc_pid_net(5): `0A` is TCP_LISTEN).
fn listens(pid: &str) -> bool {
    ["tcp", "tcp6"].iter().any(|name| {
        let path = format!("/proc/{}/net/{name}", pid.trim());
        // Without IPv6 there is no tcp6.
        let table = std::fs::read_to_string(path).unwrap_or_default();
        let mut lines = table.lines().skip(1);
        lines.any(|line| line.split_whitespace().nth(3) == Some("0A"))
    })
}

/// Starts a container whose output is added to the file `said`, and gives its process.
fn start(bench: &Bench, ours: &Runtime, bundle: &str, at: usize, said: &Path) -> String {
    let file = bench.place.file("idle-pid");
    let pid_file = file.to_str().expect("UTF-8");
    let id = id(at);
    let arguments = ["run", "--detach", "--bundle", bundle, "--pid-file", pid_file, &id];
    let mut command = bench.place.command(ours, &arguments);
    let said = File::options().append(true).open(said);
    command.stdout(said.expect("a file of ours"));
    time(command);
    std::fs::read_to_string(&file).expect("the pid file")
}
