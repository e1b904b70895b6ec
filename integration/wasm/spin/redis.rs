//! A real Redis for applications, which the test starts and stops.

use std::process::{Child, Stdio};

use super::*;
use crate::harness::bundle::set_namespace;
use crate::harness::holder::Holder;
use crate::harness::installed::find_program;
use crate::harness::network::exchange;

/// A Redis in a network of its own, which containers join.
pub struct Redis<'case> {
    case: &'case Case,
    network: Holder,
    child: Option<Child>,
}

impl Drop for Redis<'_> {
    fn drop(&mut self) {
        self.stop();
    }
}

impl<'case> Redis<'case> {
    pub fn network(case: &'case Case) -> Self {
        let directory = case.path("redis");
        fs::create_dir(&directory).expect("made");
        Redis {
            case,
            network: Holder::start("ip link set lo up", Path::new(&directory)),
            child: None,
        }
    }

    #[track_caller]
    pub fn start(&mut self, flags: &[&str]) {
        find_program("redis-server").expect("it is needed");
        let mut command = self.network.within("redis-server");
        command.args([
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--dir",
            &self.case.path("redis"),
        ]);
        command.args(flags).stdin(Stdio::null()).stdout(Stdio::null());
        self.child = Some(command.spawn().expect("it starts"));
        eventually("redis answers", || {
            self.said("PING").contains("PONG").then_some(())
        });
    }

    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// What it answers to a line.
    pub fn said(&self, line: &str) -> String {
        let text = format!("{line}\r\nQUIT\r\n");
        let address = ([127, 0, 0, 1], 6379).into();
        let answer = within(self.network.pid(), || exchange(address, text.as_bytes()));
        String::from_utf8_lossy(&answer.unwrap_or_default()).into_owned()
    }

    /// Publishes to so many.
    #[track_caller]
    pub fn publish(&self, channel: &str, message: &str, receivers: u32) {
        let said = self.said(&format!("PUBLISH {channel} {message}"));
        assert!(
            said.starts_with(&format!(":{receivers}\r\n")),
            "{message}: {said}"
        );
    }

    pub fn subscribed(&self, channel: &str) {
        eventually("the channel has a subscriber", || {
            self.said(&format!("PUBSUB NUMSUB {channel}"))
                .contains("\r\n:1\r\n")
                .then_some(())
        });
    }

    pub fn application(
        &self,
        text: &str,
        guests: &[&str],
        edit: impl FnOnce(&mut Value),
    ) -> Container<'case> {
        let network = format!("/proc/{}/ns/net", self.network.pid());
        application(self.case, &manifest(text), guests, |config| {
            set_namespace(config, "network", Some(&network));
            edit(config);
        })
    }

    #[track_caller]
    pub fn run(&self, container: &Container<'_>) -> Running {
        self.case.start(container.command("run", &[]))
    }
}
