//! What a job would do.

use super::{Failure, Job, Status, assemble::find_routes, names};
use crate::{results::human::counted, route, wire::Kind};

/// Says what a job would do, and does nothing of it.
pub(crate) fn dry_run(mut job: Job) -> Result<Status, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let routes = runtime.block_on(async {
        job.network.interface = names::zone_of(&job.plan, job.network.interface.as_deref())?;
        names::resolve_all(&mut job.plan, &job.exclude, job.for_ever).await?;
        find_routes(&route::connect()?, &job, None).await
    });
    runtime.shutdown_background();
    let routes = routes?;
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
    let on_link = routes.hops.iter().filter(|hop| hop.on_link).count() as u64;
    if on_link > 0 {
        println!("  {on_link} on the link itself");
    }
    Ok(Status::Complete)
}
