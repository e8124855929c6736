//! Digests of many orders and votes at once, in the lanes that signatures use.
//!
//! What always holds: each digest is the one that `meshpay_wire` computes singly; nothing is allocated.

use meshpay_wire::{Digest, GenesisDigest, ORDER_PREIMAGE_LENGTH, OrderBody, VOTE_PREIMAGE_LENGTH};
use meshpay_wire::{order_preimage, vote_preimage};

/// As many as are hashed side by side.
const LANES: usize = 8;

/// Digests of orders: `digests[i]` is that of `bodies[i]`.
///
/// # Panics
/// If the slices differ in length.
pub fn order_digests(genesis: &GenesisDigest, bodies: &[&OrderBody], digests: &mut [Digest]) {
    assert_eq!(bodies.len(), digests.len(), "one digest for each order");
    let mut preimages = [[0; ORDER_PREIMAGE_LENGTH]; LANES];
    for (bodies, digests) in bodies.chunks(LANES).zip(digests.chunks_mut(LANES)) {
        for (preimage, body) in preimages.iter_mut().zip(bodies) {
            *preimage = order_preimage(genesis, body);
        }
        for (digest, made) in digests.iter_mut().zip(digest_group(&preimages, bodies.len())) {
            *digest = Digest(made);
        }
    }
}

/// Digests of votes: `digests[i]` is what an authority signs for the order `orders[i]`.
///
/// # Panics
/// If the slices differ in length.
pub fn vote_digests(genesis: &GenesisDigest, epoch: u32, orders: &[Digest], digests: &mut [[u8; 32]]) {
    assert_eq!(orders.len(), digests.len(), "one digest for each vote");
    let mut preimages = [[0; VOTE_PREIMAGE_LENGTH]; LANES];
    for (orders, digests) in orders.chunks(LANES).zip(digests.chunks_mut(LANES)) {
        for (preimage, order) in preimages.iter_mut().zip(orders) {
            *preimage = vote_preimage(genesis, epoch, order);
        }
        digests.copy_from_slice(&digest_group(&preimages, orders.len())[..digests.len()]);
    }
}

/// Digests of the first `count`; the rest is zero.
fn digest_group<const N: usize>(preimages: &[[u8; N]; LANES], count: usize) -> [[u8; 32]; LANES] {
    let inputs: [&[u8]; LANES] = std::array::from_fn(|lane| &preimages[lane][..]);
    let mut digests = [[0; 32]; LANES];
    meshpay_crypto::digest_many(&inputs[..count], &mut digests[..count]);
    digests
}

#[cfg(test)]
mod tests {
    use super::*;
    use meshpay_wire::{order_digest, vote_digest};
    use zerocopy::FromZeros as _;

    #[test]
    fn every_fill_of_a_group_gives_the_single_digests() {
        let genesis = GenesisDigest([3; 32]);
        let bodies: Vec<OrderBody> = (0..20)
            .map(|n| {
                let mut body = OrderBody::new_zeroed();
                (body.sender, body.sequence, body.epoch) = ([n; 32], u64::from(n).into(), 7.into());
                body
            })
            .collect();
        for count in 0..=bodies.len() {
            let bodies: Vec<&OrderBody> = bodies[..count].iter().collect();
            let mut orders = vec![Digest::default(); count];
            order_digests(&genesis, &bodies, &mut orders);
            let mut votes = vec![[0; 32]; count];
            vote_digests(&genesis, 7, &orders, &mut votes);
            for at in 0..count {
                assert_eq!(orders[at], order_digest(&genesis, bodies[at]), "{at} of {count}");
                assert_eq!(votes[at], vote_digest(&genesis, 7, &orders[at]), "{at} of {count}");
            }
        }
    }
}
