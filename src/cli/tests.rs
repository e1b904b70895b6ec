//! Tests of the command line as a whole: that it is sound, runc's, and explained.

use super::*;

fn words(line: &str) -> Vec<OsString> {
    line.split_whitespace().map(OsString::from).collect()
}

fn invocation(line: &str) -> Invocation {
    match parse(words(line)) {
        Ok(Parsed::Invocation(invocation)) => *invocation,
        other => panic!("{line}: {other:?}"),
    }
}

fn text(line: &str) -> String {
    match parse(words(line)) {
        Ok(Parsed::Text(text)) => text,
        other => panic!("{line}: {other:?}"),
    }
}

fn refusal(line: &str) -> Box<Refusal> {
    match parse(words(line)) {
        Err(refusal) => refusal,
        Ok(parsed) => panic!("{line}: {parsed:?}"),
    }
}

/// Every command of the program, the program itself first.
fn pages() -> Vec<clap::Command> {
    let mut whole = whole();
    whole.build();
    let commands = commands_of(&whole);
    std::iter::once(whole).chain(commands).collect()
}

fn commands_of(parent: &clap::Command) -> Vec<clap::Command> {
    let commands = parent.get_subcommands();
    commands.filter(|it| it.get_name() != "help").cloned().collect()
}

#[test]
fn the_definitions_are_sound() {
    whole().debug_assert();
    lazy().debug_assert();
}

#[test]
fn every_command_and_option_is_explained() {
    let pages = pages();
    for command in pages
        .iter()
        .chain(&pages.iter().flat_map(commands_of).collect::<Vec<_>>())
    {
        let name = command.get_name();
        assert!(command.get_about().is_some(), "{name} is not explained");
        for argument in command.get_arguments() {
            assert!(
                argument.get_help().is_some(),
                "{name}: {} is not explained",
                argument.get_id()
            );
            let help = command.clone().render_long_help().to_string();
            if let Some(long) = argument.get_long()
                && !argument.is_hide_set()
            {
                assert!(
                    help.contains(&format!("--{long}")),
                    "{name}: --{long} is not in the help"
                );
            }
        }
    }
}

/// runc 1.3's options by command, and crun's; a dash and a letter are the short form.
const RUNC: &[(&str, &str)] = &[
    (
        "wrun",
        "debug log log-format log-level root systemd-cgroup cgroup-manager rootless help -h version -v criu",
    ),
    (
        "checkpoint",
        "image-path work-path parent-path leave-running tcp-established tcp-skip-in-flight link-remap ext-unix-sk \
         shell-job lazy-pages status-fd page-server file-locks pre-dump manage-cgroups-mode empty-ns auto-dedup",
    ),
    // Neither runc nor crun has such a command.
    ("completion", ""),
    (
        "create",
        "bundle -b config -f console-socket pidfd-socket pid-file no-pivot no-new-keyring preserve-fds no-subreaper",
    ),
    ("delete", "force -f regex -r"),
    // runc has no such command.
    ("doctor", ""),
    ("events", "interval stats"),
    (
        "exec",
        "console-socket pidfd-socket cwd env -e tty -t user -u additional-gids -g process -p detach -d pid-file \
         process-label apparmor no-new-privs cap -c preserve-fds cgroup ignore-paused",
    ),
    ("features", ""),
    // runc has no such command.
    ("install", ""),
    ("kill", "all -a regex -r"),
    ("list", "format -f quiet -q"),
    // crun's.
    ("mounts", ""),
    ("pause", ""),
    ("ps", "format -f"),
    (
        "restore",
        "console-socket image-path work-path tcp-established ext-unix-sk shell-job file-locks manage-cgroups-mode \
         bundle -b detach -d pid-file no-subreaper no-pivot empty-ns auto-dedup lazy-pages lsm-profile \
         lsm-mount-context",
    ),
    ("resume", ""),
    (
        "run",
        "bundle -b config -f console-socket pidfd-socket detach -d keep pid-file no-subreaper no-pivot no-new-keyring \
         preserve-fds",
    ),
    ("spec", "bundle -b rootless"),
    ("start", ""),
    ("state", ""),
    (
        "update",
        "resources -r blkio-weight cpu-period cpu-quota cpu-burst cpu-share cpu-rt-period cpu-rt-runtime \
         cpuset-cpus cpuset-mems kernel-memory kernel-memory-tcp memory cpu-idle memory-reservation memory-swap \
         pids-limit l3-cache-schema mem-bw-schema",
    ),
    // runc has no such command.
    ("wasm", ""),
];

#[test]
fn commands_and_options_are_those_of_runc_and_crun() {
    let pages = pages();
    assert_eq!(
        pages.len(),
        RUNC.len(),
        "a command is missing in the table or in the program"
    );
    for (page, (name, options)) in pages.iter().zip(RUNC) {
        assert_eq!(page.get_name(), *name);
        for option in options.split_whitespace() {
            let found = page
                .get_arguments()
                .any(|argument| match option.strip_prefix('-') {
                    Some(letter) => argument.get_short().map(String::from).as_deref() == Some(letter),
                    None => argument.get_long() == Some(option),
                });
            assert!(found, "{name} has no option {option}");
        }
    }
}

#[test]
fn what_engines_call_is_read() {
    let create = "wrun --root R --log L --log-format json --systemd-cgroup create --bundle B --pid-file P \
                  --console-socket S --preserve-fds 2 ID";
    let invocation = invocation(create);
    assert_eq!(invocation.global.root.as_deref(), Some(Path::new("R")));
    assert_eq!(invocation.global.log_format, log::Format::Json);
    assert!(invocation.global.systemd_cgroup);
    assert!(matches!(invocation.command, Command::Create(_)));
    for line in [
        "wrun --root=R --log=L --log-format=json --debug start ID",
        "wrun --rootless true --criu /usr/sbin/criu delete --force ID",
        "wrun kill --all ID 9",
        "wrun kill ID",
        "wrun --cgroup-manager=disabled --log-level=debug --log=file:/L create --config F --no-subreaper ID",
        "wrun --cgroup-manager cgroupfs --log journald:x --log-level error run -f F -d ID",
        "wrun kill --regex ^web KILL",
        "wrun completion bash",
        "wrun completion words -- create --b",
        "wrun mounts add ID FILE",
        "wrun mounts remove ID FILE",
        "wrun delete -fr ^web",
        "wrun exec --process FILE --pid-file P --detach --console-socket S ID",
        "wrun exec --pid-file P --process FILE --detach --tty ID",
        "wrun --rootless=false ps --format table ID -ef",
        "wrun exec -t -u 1:2 -e A=B -e C= -g 1 -g 2 -c CAP_KILL --no-new-privs ID sh -c x",
        "wrun ps --format json ID",
        "wrun ps ID -o pid,cmd",
        "wrun run -d -b B --keep --no-subreaper ID",
        "wrun restore --image-path I --detach -no-subreaper --bundle B ID",
        "wrun exec ID restore -no-subreaper",
        "wrun spec --rootless -b B",
        "wrun list -q",
        "wrun list --format json",
        "wrun features",
        "wrun pause ID",
        "wrun resume ID",
        "wrun state ID",
        "wrun events --stats ID",
        "wrun events --interval=100ms ID",
        "wrun update --resources - ID",
        "wrun update --memory -1 --memory-swap=-1 --cpu-quota -1 --pids-limit -1 ID",
        "wrun doctor --format json",
        "wrun install docker --dry-run",
        "wrun install crio --undo --config F --no-check",
        "wrun install containerd --default --program P --restart",
        "wrun wasm compile --fuel --export run FILE FILE",
        "wrun wasm inspect --format json FILE",
        "wrun wasm list --format json",
        "wrun wasm prune --older-than 30d --size 1000000",
        "wrun wasm prune --all",
        "wrun wasm unpack LAYOUT ROOTFS",
        "wrun wasm verify",
    ] {
        assert!(matches!(parse(words(line)), Ok(Parsed::Invocation(_))), "{line}");
    }
}

#[test]
fn the_last_word_on_cgroups_counts() {
    use crate::container::CgroupManager::{Cgroupfs, Disabled, Systemd};
    for (options, manager) in [
        ("", Cgroupfs),
        ("--systemd-cgroup", Systemd),
        ("--cgroup-manager systemd", Systemd),
        ("--systemd-cgroup --cgroup-manager disabled", Disabled),
        ("--cgroup-manager disabled --systemd-cgroup", Systemd),
        ("--cgroup-manager systemd --cgroup-manager cgroupfs", Cgroupfs),
    ] {
        let line = format!("wrun {options} list");
        assert_eq!(invocation(&line).global.cgroup_manager(), manager, "{line}");
    }
}

#[test]
fn after_the_container_everything_is_the_command() {
    let Command::Exec(exec) = invocation("wrun exec -t ID -t --user x -- -h").command else {
        panic!()
    };
    let text = format!("{exec:?}");
    assert!(
        text.contains(r#"words: ["ID", "-t", "--user", "x", "--", "-h"]"#),
        "{text}"
    );
    assert!(
        text.contains("tty: true") && text.contains("user: None"),
        "{text}"
    );
}

#[test]
fn exec_takes_a_command_or_a_file() {
    let log = Log::stderr();
    for (line, reason) in [
        ("wrun exec ID", "no command is given to run in container ID"),
        (
            "wrun exec -p FILE ID sh",
            "a command (sh) is given, and --process too",
        ),
    ] {
        let error = invocation(line).execute(&log).unwrap_err().to_string();
        assert!(error.contains(reason), "{line}: {error}");
    }
    for line in [
        "wrun exec -p FILE -u 1 ID",
        "wrun exec -u x ID sh",
        "wrun exec -u 1:-1 ID sh",
        "wrun exec",
    ] {
        refusal(line);
    }
}

#[test]
fn help_and_version_go_to_standard_output() {
    assert!(text("wrun").contains("Usage: wrun"));
    assert_eq!(text("wrun"), text("wrun --help"));
    assert!(text("wrun create -h").contains("--bundle"));
    assert_eq!(text("wrun help create"), text("wrun create --help"));
    assert!(text("wrun --version").starts_with("wrun version "));
    assert_eq!(text("wrun -v"), text("wrun --version"));
    assert_eq!(text("wrun -V"), text("wrun --version"));
}

#[test]
fn a_name_ending_in_wasm_asks_for_wasm() {
    assert!(invocation("/usr/bin/wrun-wasm state ID").wasm_required);
    assert!(!invocation("/opt/x-wasm/wrun state ID").wasm_required);
}

#[test]
fn what_is_wrong_is_named_with_the_log_in_which_to_say_so() {
    for (line, culprit) in [
        ("wrun nonsense ID", "nonsense"),
        ("wrun update --memory much ID", "--memory"),
        ("wrun events --interval 0s ID", "--interval"),
        ("wrun create --bogus ID", "--bogus"),
        ("wrun create", "<CONTAINER-ID>"),
        ("wrun create A B", "'B'"),
        ("wrun kill ID FOO", "FOO"),
        ("wrun --rootless maybe list", "maybe"),
        ("wrun --log-format xml list", "xml"),
        ("wrun create --preserve-fds -1 ID", "-1"),
        ("wrun completion", "<SHELL>"),
        ("wrun completion csh", "csh"),
        ("wrun mounts", "subcommand"),
        ("wrun mounts add ID", "<FILE>"),
        ("wrun wasm", "subcommand"),
        ("wrun wasm bogus", "bogus"),
        ("wrun wasm prune", "--all"),
        ("wrun wasm prune --older-than 3", "30d"),
        ("wrun wasm compile", "<FILE>"),
    ] {
        let (cause, advice) = refusal(line).texts();
        assert!(
            cause.contains(culprit) && !cause.contains('\n'),
            "{line}: {cause}"
        );
        assert!(
            advice.contains("Usage:") || advice.contains("--help"),
            "{line}: {advice}"
        );
    }
    let refusal = refusal("wrun --log L --log-format=json create --bogus ID");
    assert_eq!(refusal.log.as_deref(), Some(OsStr::new("L")));
    assert_eq!(refusal.format, log::Format::Json);
}

#[test]
fn only_exec_fails_with_its_own_code() {
    assert_eq!(invocation("wrun exec ID sh").command.failure_code(), 255);
    assert_eq!(invocation("wrun run ID").command.failure_code(), 1);
}

#[test]
fn of_an_option_given_twice_the_last_counts() {
    let twice =
        "wrun --root A --root B checkpoint --leave-running --leave-running --work-path C --work-path D ID";
    let invocation = invocation(twice);
    assert_eq!(invocation.global.root, Some("B".into()));
    let said = format!("{:?}", invocation.command);
    assert!(said.contains("leave_running: true"), "{said}");
    assert!(said.contains("\"D\"") && !said.contains("\"C\""), "{said}");
    let lists = format!(
        "{:?}",
        self::invocation("wrun exec --env E=1 --env F=2 ID sh").command
    );
    assert!(lists.contains("E=1") && lists.contains("F=2"), "{lists}");
}
