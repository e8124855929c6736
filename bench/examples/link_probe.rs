//! What the link itself costs: packets per second and microseconds of core per packet, with `UdpPort` at both ends.
//!
//!     cargo run --release -p meshpay-bench --example link_probe [-- RATE [SECONDS]]
//!
//! Two runs: one way (the authority's side only receives) and echo; the difference is what sending costs. The generator is
//! paced by sleeping between bursts, so that no core spins and idle time means something. Run as root for veth.

use anyhow::{Context as _, Result};
use meshpay_bench::cpu::{self, CoreSample, CoreUse, ThreadCpu};
use meshpay_bench::link::{Link, LinkRequest, NapiScheduling, Side};
use meshpay_net::{PacketPort, Peer, UdpConfig, UdpPort, Waitable};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const PAYLOAD_BYTES: usize = 280;
const STEP: Duration = Duration::from_micros(500);

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let rate: u64 = arguments.next().map_or(Ok(60_000), |text| text.parse()).context("RATE is packets per second")?;
    let seconds: u64 = arguments.next().map_or(Ok(4), |text| text.parse()).context("SECONDS is a number")?;
    for napi_scheduling in [NapiScheduling::Normal, NapiScheduling::Batch] {
        let link = Link::open(LinkRequest { napi_scheduling, ..LinkRequest::new(0, cpu::core_count() - 1) })?;
        println!("{}; {rate} packets/s offered of {PAYLOAD_BYTES} bytes, {seconds} s", link.description());
        for way in [Way::OneWay, Way::Echo] {
            measure(&link, way, rate, Duration::from_secs(seconds))?;
        }
    }
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    OneWay,
    Echo,
}

fn open(side: &Side) -> Result<UdpPort> {
    let config = UdpConfig::new(SocketAddr::new(side.ipv4().into(), 0));
    Ok(side.inside(|| UdpPort::open(&config))??)
}

fn measure(link: &Link, way: Way, rate: u64, duration: Duration) -> Result<()> {
    let mut server = open(&link.authority)?;
    let mut client = open(&link.generator)?;
    let to_server = Peer::new(server.local_address());
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| -> Result<()> {
        let (cores, stop) = ((link.authority.core(), link.generator.core()), &stop);
        let serving =
            std::thread::Builder::new().name("authority".into()).spawn_scoped(scope, move || -> Result<_> {
                cpu::pin_current_thread(cores.0)?;
                serve(&mut server, way, stop)?;
                Ok(server.counters())
            })?;
        let generating =
            std::thread::Builder::new().name("generator".into()).spawn_scoped(scope, move || -> Result<_> {
                cpu::pin_current_thread(cores.1)?;
                generate(&mut client, &to_server, rate, stop)?;
                Ok(client.counters())
            })?;
        std::thread::sleep(Duration::from_millis(300));
        let begin = Accounts::take(link)?;
        let started = Instant::now();
        std::thread::sleep(duration);
        let end = Accounts::take(link)?;
        let elapsed = started.elapsed();
        stop.store(true, Ordering::Relaxed);
        let server = serving.join().map_err(|_| anyhow::anyhow!("the authority's thread panicked"))??;
        let client = generating.join().map_err(|_| anyhow::anyhow!("the generator's thread panicked"))??;
        // The counters cover the warm-up too; the rates are of the whole, which is as long as the pacing ran.
        let whole = elapsed.as_secs_f64() + 0.3;
        println!(
            "  {way:?}: received {:.0}/s, answered {:.0}/s, answers received {:.0}/s; dropped {} + {} by sockets, {} + {} by interfaces",
            server.received as f64 / whole,
            server.sent as f64 / whole,
            client.received as f64 / whole,
            server.receive_dropped_by_kernel,
            client.receive_dropped_by_kernel,
            link.authority.drops()?,
            link.generator.drops()?,
        );
        let packets = server.received as f64 * elapsed.as_secs_f64() / whole;
        begin.until(&end).print("authority", 0, packets);
        begin.until(&end).print("generator", 1, packets);
        Ok(())
    })
}

fn serve(server: &mut UdpPort, way: Way, stop: &AtomicBool) -> Result<()> {
    let answer = [0; PAYLOAD_BYTES];
    while !stop.load(Ordering::Relaxed) {
        let _ = server.wait(Duration::from_millis(100), &[])?;
        for index in 0..server.receive()? {
            let (_, peer) = server.packet(index);
            if way == Way::Echo {
                server.queue(&peer, &[&answer]);
            }
        }
        let _ = server.flush()?;
    }
    Ok(())
}

fn generate(client: &mut UdpPort, to: &Peer, rate: u64, stop: &AtomicBool) -> Result<()> {
    let request = [0; PAYLOAD_BYTES];
    let started = Instant::now();
    let mut queued = 0;
    while !stop.load(Ordering::Relaxed) {
        let due = (started.elapsed().as_nanos() * u128::from(rate) / 1_000_000_000) as u64;
        while queued < due {
            if !client.queue(to, &[&request]) {
                let _ = client.flush()?;
                continue;
            }
            queued += 1;
        }
        let _ = client.flush()?;
        while client.receive()? > 0 {}
        std::thread::sleep(STEP);
    }
    Ok(())
}

/// The accounts of both cores, and of all threads that could have used them.
struct Accounts {
    cores: [CoreSample; 2],
    threads: Vec<ThreadCpu>,
}

struct Used {
    cores: [CoreUse; 2],
    threads: Vec<ThreadCpu>,
    numbers: [usize; 2],
}

impl Accounts {
    fn take(link: &Link) -> Result<Self> {
        let numbers = [link.authority.core(), link.generator.core()];
        let mut threads = cpu::threads_on(numbers[0])?;
        if numbers[1] != numbers[0] {
            threads.extend(cpu::threads_on(numbers[1])?);
        }
        Ok(Self { cores: [CoreSample::take(numbers[0])?, CoreSample::take(numbers[1])?], threads })
    }

    fn until(&self, later: &Self) -> Used {
        Used {
            cores: [self.cores[0].until(&later.cores[0]), self.cores[1].until(&later.cores[1])],
            threads: cpu::used_between(&self.threads, &later.threads),
            numbers: [0, 1].map(|index| self.cores[index].core()),
        }
    }
}

impl Used {
    fn print(&self, name: &str, index: usize, packets: f64) {
        let core = &self.cores[index];
        let per_packet = |us: u64| us as f64 / packets;
        let kinds = core.user_us + core.nice_us + core.system_us + core.irq_us + core.softirq_us + core.steal_us;
        print!(
            "    {name}: {:.2} us of core per packet (by sampled kinds {:.2}, of it user {:.2}, stolen {:.2}):",
            per_packet(core.not_idle_us),
            per_packet(kinds),
            per_packet(core.user_us),
            per_packet(core.steal_us)
        );
        for thread in self.threads.iter().filter(|thread| thread.core == self.numbers[index]).take(4) {
            print!(" {} {:.2}", thread.name, per_packet(thread.cpu_us));
        }
        println!();
    }
}
