//! Reads the process's arguments and environment, hands them to the command line, ends with its exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Fails only when one is installed already, which serves as well.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let env = std::env::vars_os().map(|(k, v)| (k.to_string_lossy().into_owned(), v.to_string_lossy().into_owned()));
    bellrock::cli::main(std::env::args_os(), env.collect())
}
