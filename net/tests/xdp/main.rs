//! XDP programs and their maps against the running kernel: loaded, attached, replaced, refused; tables, counters, rings.

mod attachment;
mod bare;
mod maps;
mod object;
#[allow(dead_code, reason = "shared with the tests without a harness; each uses a part of it")]
mod support;
mod test_run;
