//! `wrun ps`.

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::{Context as _, bail};

use super::{Invocation, list::Format, log::Log, write_stdout};
use crate::container;

/// List the processes of a container.
///
/// The table is that of ps(1), with the container's processes only; process ids are those of the host. While
/// optimised code is made for the next start, the compiler (wrun-compiler) is one of them, as it is for the
/// container's limits.
#[derive(Debug, clap::Args)]
#[command(override_usage = "wrun ps [OPTIONS] CONTAINER-ID [PS-OPTION]...")]
pub struct Ps {
    /// Name of the container, then options for ps(1), by default -ef. The column PID must be among those
    /// that they choose.
    #[arg(value_names = ["CONTAINER-ID", "PS-OPTION"], required = true, num_args = 1.., trailing_var_arg = true)]
    words: Vec<String>,

    /// Format of the output: the table of ps(1), or a JSON list of process ids.
    #[arg(long, short, value_name = "FORMAT", value_enum, default_value = "table")]
    format: Format,
}

impl Ps {
    pub fn execute(&self, invocation: &Invocation, log: &Log) -> anyhow::Result<u8> {
        let warn = |message: &str| log.warn(message);
        let Some((id, options)) = self.words.split_first() else {
            bail!("no container is named")
        };
        let pids = container::ps(&invocation.context(&warn)?, id)?;
        let text = match self.format {
            Format::Json => serde_json::to_string(&pids)? + "\n",
            Format::Table => table(&host_processes(options)?, &pids.into_iter().collect())?,
        };
        write_stdout(text.as_bytes())?;
        Ok(0)
    }
}

/// What ps(1) says of all processes of the host.
fn host_processes(options: &[String]) -> anyhow::Result<String> {
    let mut command = Command::new("ps");
    if options.is_empty() {
        command.arg("-ef");
    } else {
        command.args(options);
    }
    let output = command.output().context("cannot run ps")?;
    if !output.status.success() {
        bail!(
            "ps failed ({}): {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The heading of what ps(1) wrote and the lines of these processes.
fn table(output: &str, pids: &BTreeSet<u32>) -> anyhow::Result<String> {
    let mut lines = output.lines();
    let heading = lines.next().unwrap_or_default();
    let column = heading
        .split_whitespace()
        .position(|name| name == "PID")
        .context("the options for ps leave out the column PID, by which a container's processes are known")?;
    let mut table = format!("{heading}\n");
    for line in lines.filter(|line| !line.is_empty()) {
        let pid = line.split_whitespace().nth(column).unwrap_or_default();
        let pid: u32 = pid
            .parse()
            .with_context(|| format!("ps gave {pid:?} as a process id"))?;
        if pids.contains(&pid) {
            table.push_str(line);
            table.push('\n');
        }
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_the_heading_and_the_processes_of_the_container() {
        let output = "UID PID CMD\nroot 1 init\nroot 7 sleep 9\nroot 70 sh\n";
        assert_eq!(
            table(output, &[7, 8].into()).unwrap(),
            "UID PID CMD\nroot 7 sleep 9\n"
        );
        assert_eq!(table(output, &[].into()).unwrap(), "UID PID CMD\n");
        assert!(
            table("UID CMD\nroot init\n", &[7].into())
                .unwrap_err()
                .to_string()
                .contains("column PID")
        );
        assert!(table("", &[7].into()).is_err());
    }
}
