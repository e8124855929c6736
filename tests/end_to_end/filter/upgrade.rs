//! One daemon takes the place of another while a service manager keeps the filter's link: the interface is never without the filter.
//!
//! What always holds: what the manager kept is taken over, taken off, or ignored; a start never fails because of it.

use super::{Meanwhile, scene, until_clean};
use crate::scene::Scene;
use anyhow::{Context, Result, bail, ensure};
use meshpay_net::host;
use meshpay_net::xdp::{AttachMode, Attachment, Bare, Program};
use meshpay_tests::committee::Plan;
use meshpay_tests::link::{INTERFACE, Link};
use meshpay_tests::service_manager::ServiceManager;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

/// By which the daemon's link is kept.
const STORED_AS: &str = "filter-link";

/// An authority on this rung that a service manager has started.
fn under(manager: &ServiceManager, link: &Arc<Link>, rung: &str) -> Result<Scene> {
    scene(link, rung, Plan::single().environment("NOTIFY_SOCKET", manager.address()))
}

/// The one link that is stored: another hand on it.
fn stored_link(manager: &mut ServiceManager) -> Result<Attachment> {
    let [(name, descriptor)] = manager.stored()? else { bail!("not one descriptor is stored: {:?}", manager.stored()) };
    ensure!(name == STORED_AS, "stored as {name:?}");
    Ok(Attachment::from_fd(descriptor.try_clone()?)?)
}

/// The program that a link runs, and that it does run.
fn program_of(link: &Attachment) -> Result<u64> {
    let state = link.state()?;
    ensure!(state.interface.is_some(), "the link has left its interface");
    Ok(state.program_id.into())
}

/// Starts the stopped authority again, by the manager and with all that is stored.
fn start_again(manager: &mut ServiceManager, scene: &mut Scene) -> Result<String> {
    let daemon = &mut scene.committee.daemons[0];
    let command = manager.start_command(daemon)?;
    daemon.launch_as(command)?;
    let ready = daemon.wait_until_ready()?;
    ready.get("rung").cloned().with_context(|| format!("no rung in {ready:?}"))
}

#[test]
fn the_filter_stays_while_one_daemon_takes_the_place_of_another() -> Result<()> {
    let Some(link) = Link::make()? else { return Ok(()) };
    for (rung, is_killed) in [("xdp-udp", false), ("xsk-copy", false), ("xsk-copy", true)] {
        let mut manager = ServiceManager::new()?;
        let mut scene = under(&manager, &link, rung)?;
        scene.pay(1)?;
        let kept = stored_link(&mut manager)?;
        let before = program_of(&kept)?;
        ensure!(link.gateway.programs(INTERFACE)? == [before], "another program than the link's is attached");

        let after = std::thread::scope(|scope| -> Result<u64> {
            let watched = &kept;
            let watch = Meanwhile::start(scope, move || program_of(watched).map(|_| 1));
            if is_killed {
                scene.committee.daemons[0].kill()?;
            } else {
                let status = scene.committee.daemons[0].stop()?;
                ensure!(status.success(), "a clean stop ended with {status}");
            }
            ensure!(program_of(&kept)? == before, "the program has not stayed when its daemon ended");
            ensure!(start_again(&mut manager, &mut scene)? == rung, "not the rung of before");
            let looks = watch.end().context("while one daemon took the place of the other")?;
            ensure!(looks > 0, "nobody has looked");
            program_of(&kept)
        })?;
        ensure!(after != before, "the new daemon has not put its own program into the link");
        ensure!(link.gateway.programs(INTERFACE)? == [after], "there must be one program, the new one");
        let log = scene.committee.daemons[0].log_text();
        ensure!(log.contains("taken over"), "it must say so: {log}");

        // The new one filters with its own tables, and leaves the link for the next.
        scene.state_is_right()?;
        scene.pay(1)?;
        ensure!(scene.committee.daemons[0].filtered("delivered")? > 0, "the new daemon's filter sees nothing");
        ensure!(program_of(&stored_link(&mut manager)?)? == after, "another link is stored");
        scene.stop_and_audit()?;

        // With the last hand on the link the program goes.
        drop((manager, kept));
        until_clean(&link)?;
    }
    Ok(())
}

#[test]
fn an_operator_who_wants_no_filter_any_more_gets_rid_of_it_by_a_restart() -> Result<()> {
    let Some(link) = Link::make()? else { return Ok(()) };
    // He takes the interface out of the settings, or asks for sockets alone.
    for (flag, value) in [("--interface", ""), ("--rung", "udp")] {
        let mut manager = ServiceManager::new()?;
        let mut scene = under(&manager, &link, "xsk-copy")?;
        scene.pay(1)?;
        let kept = stored_link(&mut manager)?;
        ensure!(scene.committee.daemons[0].stop()?.success(), "no clean stop");
        program_of(&kept)?;
        let daemon = &mut scene.committee.daemons[0];
        daemon.set_flag("--require", "udp")?;
        daemon.set_flag(flag, value)?;
        ensure!(start_again(&mut manager, &mut scene)? == "udp", "no filter was asked for");
        // Taken off, although the manager's hand and ours are still on the link.
        ensure!(kept.state()?.interface.is_none(), "{flag} {value:?}: the link is still attached");
        ensure!(link.gateway.programs(INTERFACE)?.is_empty(), "{flag} {value:?}: a program is still attached");
        scene.pay(1)?;
        // What it leaves with the manager does no harm the next time.
        ensure!(scene.committee.daemons[0].stop()?.success(), "no clean stop");
        let daemon = &mut scene.committee.daemons[0];
        daemon.set_flag("--rung", "xsk-copy")?;
        daemon.set_flag("--interface", INTERFACE)?;
        ensure!(start_again(&mut manager, &mut scene)? == "xsk-copy", "not the rung that is asked for again");
        ensure!(link.gateway.programs(INTERFACE)?.len() == 1, "the filter was asked for again");
        scene.pay(1)?;
        scene.stop_and_audit()?;
        drop((manager, kept));
        until_clean(&link)?;
    }
    Ok(())
}

#[test]
fn descriptors_that_are_no_link_of_ours_do_no_harm() -> Result<()> {
    let Some(link) = Link::make()? else { return Ok(()) };
    let mut manager = ServiceManager::new()?;
    let mut scene = under(&manager, &link, "xsk-copy")?;
    scene.pay(1)?;
    scene.committee.daemons[0].kill()?;
    let kept = stored_link(&mut manager)?;
    let before = program_of(&kept)?;

    // No link at all: a file, and a program. A link of another interface. A name that is nobody's.
    let stranger = Program::bare(Bare::Pass)?;
    let elsewhere = link.gateway.inside(|| -> Result<OwnedFd> {
        Ok(stranger.attach(host::Link::named("lo")?.index, AttachMode::Generic)?.into())
    })??;
    manager.store(STORED_AS, std::fs::File::open("/dev/null")?.into());
    manager.store(STORED_AS, stranger.as_fd().try_clone_to_owned()?);
    manager.store(STORED_AS, elsewhere.try_clone()?);
    manager.store("somebody-elses", std::fs::File::open("/dev/null")?.into());

    ensure!(start_again(&mut manager, &mut scene)? == "xsk-copy", "not the rung of before");
    let after = program_of(&kept)?;
    ensure!(after != before && link.gateway.programs(INTERFACE)? == [after], "the link among them was not taken over");
    ensure!(
        Attachment::from_fd(elsewhere)?.state()?.interface.is_none(),
        "a link that is no longer wanted is attached"
    );
    ensure!(
        manager.stored()?.iter().filter(|(name, _)| name == STORED_AS).count() == 1,
        "more than its own link is kept"
    );
    scene.pay(1)?;
    scene.stop_and_audit()
}

#[test]
fn where_nothing_that_was_kept_is_of_use_the_filter_is_attached_anew() -> Result<()> {
    let Some(link) = Link::make()? else { return Ok(()) };
    let manager = ServiceManager::new()?;
    let mut scene = under(&manager, &link, "xsk-copy")?;
    scene.pay(1)?;
    // The manager was told to forget its store, or was restarted: the link went with the daemon.
    scene.committee.daemons[0].kill()?;
    drop(manager);
    until_clean(&link)?;
    let mut manager = ServiceManager::new()?;
    manager.store(STORED_AS, std::fs::File::open("/dev/null")?.into());
    ensure!(start_again(&mut manager, &mut scene)? == "xsk-copy", "not the rung of before");
    ensure!(link.gateway.programs(INTERFACE)? == [program_of(&stored_link(&mut manager)?)?], "not the stored link's");
    scene.pay(1)?;
    scene.stop_and_audit()
}
