//! The program: reads the command line, carries out the command, prints its error once, and exits with its
//! code. Everything else is in the library.

#![deny(unsafe_code)]

use std::process::ExitCode;

use wrun::cli;

fn main() -> ExitCode {
    if cli::enters_container(std::env::args_os()) {
        // Starts the program anew, from a protected executable: before any work that would be done twice. The
        // command does it again, which tells what is wrong where it fails.
        let _ = wrun::process::protect_executable();
    }
    let invocation = match cli::parse(std::env::args_os()) {
        Ok(cli::Parsed::Invocation(invocation)) => invocation,
        Ok(cli::Parsed::Text(text)) => return print(&text),
        Err(refusal) => {
            refusal.report();
            return ExitCode::FAILURE;
        }
    };
    let log = match invocation.global.open_log() {
        Ok(log) => log,
        Err(error) => {
            cli::log::Log::stderr().report(&error);
            return ExitCode::FAILURE;
        }
    };
    match invocation.execute(&log) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            log.report(&error);
            ExitCode::from(invocation.command.failure_code())
        }
    }
}

/// Help or the version, which go to standard output.
fn print(text: &str) -> ExitCode {
    match cli::write_stdout(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            cli::log::Log::stderr().report(&error);
            ExitCode::FAILURE
        }
    }
}
