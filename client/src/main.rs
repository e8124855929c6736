//! The `meshpay` command: what a person does with the wallet library. `meshpay help` lists it; README.md of this folder documents
//! output, files and exit codes.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
