//! Both objects pass the verifier, with room to spare.

use crate::kernel::{Kernel, OBJECT, TEST_OBJECT};
use meshpay_wire::filter::TableSizes;

#[test]
fn both_objects_pass_the_verifier() {
    for (name, object) in [("shipped", OBJECT), ("test", TEST_OBJECT)] {
        let Some(kernel) = Kernel::load(object, TableSizes::ORDINARY) else { return };
        let walked = kernel.program.verified_instructions().unwrap();
        println!("{name} object: {} bytes, the verifier walked {walked} instructions", object.len());
        assert!(walked < 500_000, "half of what a kernel walks is left for other compilers' objects");
    }
}
