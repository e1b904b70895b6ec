//! SIGKILL to wrun before each of its system calls, of every command in turn: the same command again must end, with
//! success or with one error, and a forced delete must leave nothing.
//!
//! strace sends the signal. Only calls that can change something are counted: a kill before a call that only reads
//! is the same as one before the next that changes something. The container's own processes are not traced; what
//! becomes of them when they are killed is in [`super`].

use crate::cgroups::{in_scope, run_in_scope};
use crate::harness::{Case, Container, Need, Output, Test, bundle, leaks, test};

pub fn tests() -> Vec<Test> {
    let each = |test: Test| {
        test.needs(Need::Strace)
            .wrun_only("runc leaves its init and its cgroups where it is killed itself")
    };
    vec![
        each(test!(create_killed_at_each_call)),
        each(test!(create_killed_at_each_call_on_v2)).unified(),
        each(test!(create_with_a_scope_killed_at_each_call)).needs(Need::Systemd),
        each(test!(create_in_a_user_namespace_killed_at_each_call)),
        each(test!(run_killed_at_each_call)),
        each(test!(run_of_wasm_killed_at_each_call)),
        each(test!(start_killed_at_each_call)),
        each(test!(exec_killed_at_each_call)),
        each(test!(pause_killed_at_each_call)),
        each(test!(pause_killed_at_each_call_on_v2)).unified(),
        each(test!(resume_killed_at_each_call)),
        each(test!(update_killed_at_each_call)),
        each(test!(kill_killed_at_each_call)),
        each(test!(delete_killed_at_each_call)),
        each(test!(delete_killed_at_each_call_on_v2)).unified(),
        each(test!(delete_of_a_scope_killed_at_each_call)).needs(Need::Systemd),
        each(test!(forced_delete_killed_at_each_call)),
        each(test!(commands_that_only_look_killed_at_each_call)),
    ]
}

/// Calls before which a kill is not worth a round: they change nothing, or nothing that outlives the process.
const ONLY_LOOK: &str = "read,pread64,readv,close,fstat,newfstatat,statx,lseek,mmap,munmap,mprotect,madvise,brk,readlink,\
     readlinkat,getdents64,rt_sigaction,rt_sigprocmask,sigaltstack,fstatfs,statfs,getrandom,poll,sched_getaffinity,\
     getpid,gettid,getuid,geteuid,getgid,getegid,getcwd,arch_prctl,set_tid_address,set_robust_list,rseq,uname,futex,\
     clock_gettime,access,faccessat,faccessat2,pidfd_open,getxattr,recvmsg,recvfrom,getsockname,getpeername";

/// Runs the runtime with `args` and kills it before the `count`th call that can change something, if it comes so far.
pub fn killed_before(case: &Case, count: usize, args: &[String]) -> Output {
    let set = |action: &str, more: &str| format!("{action}=!{ONLY_LOOK}{more}");
    let tracer = [
        "strace",
        "-o",
        &case.path("calls"),
        "-e",
        &set("trace", ""),
        "-e",
        &set("inject", &format!(":signal=KILL:when={count}")),
    ];
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    case.finish(case.command_under(&tracer, &args))
}

/// Fewer kills than any command allows mean that strace does not do what the test takes it for.
const FEWEST: usize = 4;

/// Kills the command that `args` gives before its first call, its second, and so on until it is through, each time
/// after `prepare`.
#[track_caller]
fn survives(container: &Container, prepare: impl Fn(&Container), args: impl Fn(&Container) -> Vec<String>) {
    let case = container.case;
    let args = args(container);
    for count in 1.. {
        prepare(container);
        let output = killed_before(case, count, &args);
        let last = || std::fs::read_to_string(case.path("calls")).unwrap_or_default();
        if output.code() != 128 + 9 {
            output.ok();
            assert!(count > FEWEST, "it was killed only {} times", count - 1);
            container.delete_with(&["--force"]).ok();
            case.nothing_left();
            return;
        }
        // Every second time the same command comes first; it need not succeed, but it ends and says why.
        if count % 2 == 0 {
            let words: Vec<&str> = args.iter().map(String::as_str).collect();
            let again = case.call(&words);
            if !again.status.success() {
                again.error();
            }
        }
        let deleted = container.delete_with(&["--force"]);
        assert!(deleted.status.success(), "{deleted}\nafter:\n{}", last());
        let left = leaks::find(case);
        assert!(left.is_empty(), "left behind: {left:#?}\nafter:\n{}", last());
    }
}

/// The arguments of a command on the container.
fn on<'a>(words: &'a [&'a str]) -> impl Fn(&Container) -> Vec<String> + 'a {
    move |container| {
        let own = |word: &&str| match *word {
            "BUNDLE" => container.bundle(),
            "ID" => container.id.clone(),
            other => other.to_owned(),
        };
        words.iter().map(own).collect()
    }
}

const CREATE: &[&str] = &["create", "--bundle", "BUNDLE", "ID"];

fn nothing(_: &Container) {}

fn running(container: &Container) {
    container.run_detached();
}

fn stopped(container: &Container) {
    container.run_detached();
    container.kill("KILL").ok();
    container.wait_for("stopped");
}

fn create_killed_at_each_call(case: &Case) {
    survives(&super::full(case), nothing, on(CREATE));
}

fn create_killed_at_each_call_on_v2(case: &Case) {
    create_killed_at_each_call(case);
}

fn create_with_a_scope_killed_at_each_call(case: &Case) {
    let container = in_scope(case, &format!("{}0", case.mark), |_| {});
    let create = ["--systemd-cgroup", "create", "--bundle", "BUNDLE", "ID"];
    survives(&container, nothing, on(&create));
}

fn create_in_a_user_namespace_killed_at_each_call(case: &Case) {
    let container = case.container_with(&["sleep", "100"], |config| bundle::map_ids(config, 100_000));
    survives(&container, nothing, on(CREATE));
}

fn run_killed_at_each_call(case: &Case) {
    let container = case.container(&["true"]);
    survives(&container, nothing, on(&["run", "--bundle", "BUNDLE", "ID"]));
}

fn run_of_wasm_killed_at_each_call(case: &Case) {
    let container = crate::wasm::guest_with(case, "hello", &[], |_| {});
    survives(&container, nothing, on(&["run", "--bundle", "BUNDLE", "ID"]));
}

fn start_killed_at_each_call(case: &Case) {
    let created = |container: &Container| {
        container.create();
    };
    survives(&super::full(case), created, on(&["start", "ID"]));
}

fn exec_killed_at_each_call(case: &Case) {
    let container = case.container(&["sleep", "100"]);
    survives(&container, running, on(&["exec", "ID", "sleep", "0.01"]));
}

fn pause_killed_at_each_call(case: &Case) {
    let container = case.container(&["sleep", "100"]);
    survives(&container, running, on(&["pause", "ID"]));
}

fn pause_killed_at_each_call_on_v2(case: &Case) {
    pause_killed_at_each_call(case);
}

fn resume_killed_at_each_call(case: &Case) {
    let paused = |container: &Container| {
        container.run_detached();
        case.call(&["pause", &container.id]).ok();
    };
    let container = case.container(&["sleep", "100"]);
    survives(&container, paused, on(&["resume", "ID"]));
}

fn update_killed_at_each_call(case: &Case) {
    let limits = [
        "update",
        "--memory",
        "50000000",
        "--pids-limit",
        "30",
        "--cpu-quota",
        "20000",
        "ID",
    ];
    survives(&case.container(&["sleep", "100"]), running, on(&limits));
}

fn kill_killed_at_each_call(case: &Case) {
    let container = case.container(&["sleep", "100"]);
    survives(&container, running, on(&["kill", "ID", "KILL"]));
}

fn delete_killed_at_each_call(case: &Case) {
    survives(&super::full(case), stopped, on(&["delete", "ID"]));
}

fn delete_killed_at_each_call_on_v2(case: &Case) {
    delete_killed_at_each_call(case);
}

fn delete_of_a_scope_killed_at_each_call(case: &Case) {
    let container = in_scope(case, &format!("{}0", case.mark), |_| {});
    let scoped = |container: &Container| {
        run_in_scope(container);
        container.kill("KILL").ok();
        container.wait_for("stopped");
    };
    survives(&container, scoped, on(&["delete", "ID"]));
}

fn forced_delete_killed_at_each_call(case: &Case) {
    let container = case.container(&["sleep", "100"]);
    survives(&container, running, on(&["delete", "--force", "ID"]));
}

/// They are also those that must not disturb the container: it runs on.
fn commands_that_only_look_killed_at_each_call(case: &Case) {
    let container = case.container(&["sleep", "100"]);
    for words in [
        &["state", "ID"][..],
        &["ps", "ID"],
        &["list"],
        &["events", "--stats", "ID"],
    ] {
        container.run_detached();
        let args = on(words)(&container);
        for count in 1.. {
            let output = killed_before(case, count, &args);
            assert_eq!(container.status(), "running", "{output}");
            if output.code() != 128 + 9 {
                output.ok();
                assert!(count > FEWEST, "it was killed only {} times", count - 1);
                break;
            }
        }
        container.delete_with(&["--force"]).ok();
        case.nothing_left();
    }
}
