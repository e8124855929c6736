//! The driver. Built for libFuzzer (`cargo xtask fuzz`), it runs the target that MESHPAY_FUZZ_TARGET names; built in the ordinary way, it
//! replays the files on its command line, so that a crash can be looked at on any machine:
//!
//! ```text
//! cargo run -p meshpay-fuzz -- TARGET FILE...
//! ```

#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    static CHOSEN: std::sync::OnceLock<&'static meshpay_fuzz::Target> = std::sync::OnceLock::new();
    let chosen = CHOSEN.get_or_init(|| {
        let name = std::env::var("MESHPAY_FUZZ_TARGET").unwrap_or_default();
        meshpay_fuzz::target(&name)
            .unwrap_or_else(|| panic!("MESHPAY_FUZZ_TARGET is {name:?}, which is no target; see fuzz/src/lib.rs"))
    });
    (chosen.run)(bytes);
});

#[cfg(not(fuzzing))]
fn main() -> std::process::ExitCode {
    let mut arguments = std::env::args().skip(1);
    let names: Vec<_> = meshpay_fuzz::TARGETS.iter().map(|target| target.name).collect();
    let Some(target) = arguments.next().and_then(|name| meshpay_fuzz::target(&name)) else {
        eprintln!("usage: meshpay-fuzz TARGET FILE...\ntargets: {}", names.join(", "));
        return std::process::ExitCode::FAILURE;
    };
    for path in arguments {
        match std::fs::read(&path) {
            Ok(bytes) => {
                println!("{}: {path}, {} bytes", target.name, bytes.len());
                (target.run)(&bytes);
            }
            Err(error) => {
                eprintln!("error: cannot read {path}: {error}");
                return std::process::ExitCode::FAILURE;
            }
        }
    }
    std::process::ExitCode::SUCCESS
}
