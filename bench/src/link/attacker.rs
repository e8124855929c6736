//! A third party on the link: somebody whose frames reach the authority's interface beside the generator's, as on the air.
//!
//! ```text
//!   namespace ...-f                 namespace ...-g (generator)                        namespace ...-a
//!   mp...f  ------ veth ------  mp...r, XDP: everything on to mp...g  ------ veth ------  mp...a, the one that is flooded
//! ```
//!
//! What always holds: an attacker's frames go the generator's way into the authority's interface, and into its one receive ring, without
//! costing the authority's core anything before. The generator's core pays for sending them and for handing them on.

use super::namespace::{self, Janitor, Namespace};
use super::{Link, Side, attach_bare, run};
use anyhow::{Context as _, Result};
use meshpay_net::host;
use meshpay_net::xdp::{AttachMode, Attachment, Bare, Program, XdpError};
use std::io;

/// Hardware address of the attacker.
const MAC: [u8; 6] = [0x02, 0x4d, 0x50, 0, 0, 0x66];

/// An attacker that has joined a link. Dropping it takes its wire away.
#[derive(Debug)]
pub(crate) struct Attacker {
    namespace: Namespace,
    index: u32,
    loopback: u32,
    _on: Attachment,
    // After the descriptors: then the namespace is removed.
    _janitor: Janitor,
}

impl Attacker {
    /// Lays a wire to the generator's side of a veth link.
    pub(crate) fn join(link: &Link) -> Result<Self> {
        let air: &Side = &link.generator;
        let air_namespace = air.namespace.as_ref().context("an attacker needs a veth link")?;
        let number = super::NEXT_LINK.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let pid = std::process::id();
        let name = namespace::name(pid, number, 'f');
        let [far, near] = [format!("mp{pid}x{number}f"), format!("mp{pid}x{number}r")];
        let janitor = Janitor::start(std::slice::from_ref(&name), &far)?;
        let namespace = Namespace::create(&name)?;
        let line = format!(
            "link add {far} mtu 1500 netns {name} type veth peer name {near} mtu 1500 netns {}",
            air_namespace.name()
        );
        run("ip", &line.split(' ').collect::<Vec<_>>())?;
        run("ip", &["-n", &name, "link", "set", &far, "up"])?;
        run("ip", &["-n", air_namespace.name(), "link", "set", &near, "up"])?;
        let on = air.inside(|| -> Result<Attachment> {
            let target = host::Link::named(air.interface())?.index;
            attach_bare(&near, Bare::Redirect(target))
        })??;
        let index = namespace.inside(|| host::Link::named(&far))??.index;
        let loopback = namespace.inside(|| host::Link::named("lo"))??.index;
        Ok(Self { namespace, index, loopback, _on: on, _janitor: janitor })
    }

    /// Number of its interface within its namespace.
    pub(crate) fn index(&self) -> u32 {
        self.index
    }

    /// Attaches two programs where they meet no frame that matters, for as long as the returned values live: then each of their runs by
    /// hand begins and ends at once (see [`Program::test_run`]).
    pub(crate) fn hold_ready(&self, programs: [&Program; 2]) -> Result<[Attachment; 2]> {
        let [at_wire, at_loopback] = programs;
        let attach = || -> Result<[Attachment; 2], XdpError> {
            Ok([
                at_wire.attach(self.index, AttachMode::Native)?,
                at_loopback.attach(self.loopback, AttachMode::Generic)?,
            ])
        };
        Ok(self.namespace.inside(attach)??)
    }

    /// Its hardware address, which its frames carry.
    pub(crate) fn mac(&self) -> [u8; 6] {
        MAC
    }

    /// As [`Side::inside`].
    pub(crate) fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        self.namespace.inside(work)
    }
}
