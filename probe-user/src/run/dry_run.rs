//! What a job would do.

use super::{Failure, Job, Status, assemble::find_routes, names};
use crate::{
    nic,
    results::human::counted,
    route::{self, Routes},
    wire::Kind,
};
use probe_ebpf::wire::ethernet;

/// Looks up what the job's targets are called and the way there.
fn look_up(job: &mut Job) -> Result<Routes, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let routes = runtime.block_on(async {
        job.network.interface = names::zone_of(&job.plan, job.network.interface.as_deref())?;
        names::resolve_all(&mut job.plan, &job.exclude, job.for_ever).await?;
        find_routes(&route::connect()?, job, None).await
    });
    runtime.shutdown_background();
    routes
}

/// Gives the job's targets their addresses. Returns how many bytes an IP datagram may have that leaves for them, and by which interface.
pub(crate) fn longest_datagram(job: &mut Job) -> Result<(u32, String), Failure> {
    let interface = look_up(job)?.interface;
    let stack = nic::stack(&interface.name, job.network.mode)?;
    // A card takes frames that are longer by one tag than its MTU says; those with two it need not.
    let beyond = u32::try_from(stack.tags.length().saturating_sub(ethernet::TAG)).unwrap_or(0);
    let of_ports = stack.ports.iter().map(|port| port.mtu.saturating_sub(beyond));
    Ok((of_ports.min().unwrap_or(interface.mtu).min(interface.mtu), interface.name))
}

/// Says what a job would do, and does nothing of it.
pub(crate) fn dry_run(mut job: Job) -> Result<Status, Failure> {
    let routes = look_up(&mut job)?;
    let plan = &job.plan;
    println!("would probe {} through {}:", counted(plan.targets.len() as u64, "target"), routes.interface.name);
    for group in &plan.groups {
        let rounds = group.count.map_or_else(|| "for ever".to_owned(), |count| counted(count, "time"));
        let what = match group.shape.kind {
            Kind::Echo => format!("{} bytes", group.shape.payload),
            Kind::Tcp { port } => format!("TCP port {port}"),
            Kind::Udp { port, .. } => format!("UDP port {port}"),
        };
        let (targets, every) = (counted(group.targets.len() as u64, "target"), group.interval);
        println!("  {}: {targets}, every {every}, {rounds}, {} to answer, {what}", group.name, group.timeout);
    }
    for hop in routes.hops.iter().filter(|hop| !hop.on_link) {
        println!("  by gateway {} from {}", hop.address, hop.source);
    }
    // From each of several sources in turn such a target has a hop.
    let on_link = routes.hops.iter().filter(|hop| hop.on_link && hop.turn() == 0).count();
    if on_link > 0 {
        println!("  {on_link} on the link itself");
    }
    Ok(Status::Complete)
}
