//! What an answer needs to know of the Ethernet below it, as it travels in [`LinkData`]: both MAC addresses, VLAN tags, queue.
//!
//! An answer needs no route and no neighbour: it goes back where the request came from, with the addresses swapped.

use crate::LinkData;

/// VLAN tags that are understood: one customer tag, or a service tag and a customer tag.
pub(super) const TAGS_MAX: usize = 2;

/// A VLAN tag as it stands in a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tag {
    /// 802.1ad instead of 802.1Q.
    pub(super) service: bool,
    /// VLAN identifier, 12 bits.
    pub(super) identifier: u16,
}

/// Where a packet came from, below IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    /// Our own MAC address: the frame's destination.
    pub(super) local: [u8; 6],
    /// The neighbour that the frame came from.
    pub(super) neighbour: [u8; 6],
    /// Tags, the outer one first.
    pub(super) tags: [Tag; TAGS_MAX],
    /// How many tags there are.
    pub(super) tag_count: u8,
    /// Index of the queue it came from.
    pub(super) queue: u16,
}

/// Says that the data are of this format and of this interface, by the lowest bits of its index. Zero stands for "nothing known". Packets that
/// came by an interface which has been replaced since are thus not answered by the new one at the old one's addresses.
fn mark(interface: u32) -> u8 {
    0x80 | interface as u8 & 0x7f
}

/// Above a tag's identifier.
const SERVICE: u16 = 1 << 15;

impl Link {
    pub(super) fn tags(&self) -> &[Tag] {
        &self.tags[..usize::from(self.tag_count).min(TAGS_MAX)]
    }

    pub(super) fn encode(&self, interface: u32) -> LinkData {
        let tag = |tag: Tag| (tag.identifier & 0xfff | if tag.service { SERVICE } else { 0 }).to_le_bytes();
        let [l0, l1, l2, l3, l4, l5] = self.local;
        let [n0, n1, n2, n3, n4, n5] = self.neighbour;
        let ([a0, a1], [b0, b1], [q0, q1]) = (tag(self.tags[0]), tag(self.tags[1]), self.queue.to_le_bytes());
        let count = self.tag_count;
        LinkData([l0, l1, l2, l3, l4, l5, n0, n1, n2, n3, n4, n5, a0, a1, b0, b1, q0, q1, count, mark(interface)])
    }

    /// `None` if the data were not written by [`encode`](Self::encode) for this interface.
    pub(super) fn decode(data: &LinkData, interface: u32) -> Option<Self> {
        let bytes = &data.0;
        if bytes[19] != mark(interface) || usize::from(bytes[18]) > TAGS_MAX {
            return None;
        }
        let mac = |at: usize| std::array::from_fn(|index| bytes[at + index]);
        let tag = |at: usize| {
            let word = u16::from_le_bytes([bytes[at], bytes[at + 1]]);
            Tag { service: word & SERVICE != 0, identifier: word & 0xfff }
        };
        Some(Self {
            local: mac(0),
            neighbour: mac(6),
            tags: [tag(12), tag(14)],
            tag_count: bytes[18],
            queue: u16::from_le_bytes([bytes[16], bytes[17]]),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_survives_the_round_trip() {
        let tags = [Tag { service: true, identifier: 7 }, Tag { service: false, identifier: 4094 }];
        let link = Link { local: [1; 6], neighbour: [2; 6], tags, tag_count: 2, queue: 513 };
        assert_eq!(Link::decode(&link.encode(300), 300), Some(link));
        assert_eq!(Link::decode(&link.encode(300), 301), None);
        assert_eq!(link.tags(), tags);
    }

    #[test]
    fn other_data_are_no_link() {
        assert_eq!(Link::decode(&LinkData::default(), 0), None);
        let mut bytes = [0; 20];
        bytes[19] = mark(7);
        bytes[18] = 3;
        assert_eq!(Link::decode(&LinkData(bytes), 7), None);
    }
}
