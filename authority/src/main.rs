//! `meshpay-authority`: see `meshpay-authority --help`.

fn main() -> std::process::ExitCode {
    meshpay_authority::commands::main()
}
