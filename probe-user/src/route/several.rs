//! Routes with several next hops (ECMP). The kernel spreads addresses over them by a hash whose seed is secret, so it is asked for
//! every target that such a route leads to.
//!
//! The answer is the way that the host's own ping to the target takes: the hash is over what its socket asks with, which is the
//! destination, the protocol and, where one was named, the source.

use super::{
    RouteError,
    lookup::{Way, question, read, refusal},
    netlink::to_io,
};
use crate::base::{Family, Source};
use futures_util::{StreamExt, TryStreamExt, stream};
use rtnetlink::{
    Handle,
    packet_core::{NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload},
    packet_route::{
        RouteNetlinkMessage,
        route::{RouteAttribute, RouteFlags, RouteMessage},
    },
    sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE},
};
use std::{
    collections::HashMap,
    io,
    net::IpAddr,
    time::{Duration, Instant},
};

/// Questions in one message: their answers fit the receive buffer of any socket (the kernel takes some 8 KiB for each).
const AT_ONCE: usize = 16;
/// Between two words on how far it has come.
const PROGRESS: Duration = Duration::from_secs(1);

/// Whether a route that the kernel told has several next hops, or may have.
pub(super) fn has(route: &RouteMessage) -> bool {
    let (mut one, mut object) = (false, false);
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::MultiPath(_) => return true,
            RouteAttribute::Oif(_) | RouteAttribute::Gateway(_) | RouteAttribute::Via(_) => one = true,
            // A nexthop object, which may be a group: told in full only with net.ipv4.nexthop_compat_mode.
            RouteAttribute::NhId(_) => object = true,
            _ => {}
        }
    }
    object && !one
}

/// Which of the stretches are led to by a route with several next hops.
pub(super) async fn segments(
    handle: &Handle,
    asked: impl Iterator<Item = &(usize, IpAddr)>,
    ways: &[Way],
    source: Source,
) -> Result<Vec<bool>, RouteError> {
    let routed = asked.filter(|(segment, _)| matches!(ways[*segment], Way::Through { .. }));
    let questions = routed.map(|&(segment, target)| async move {
        let mut question = question(target, None, source.of(Family::of(target)));
        question.header.flags |= RouteFlags::FibMatch;
        let mut answer = std::pin::pin!(handle.route().get(question).execute());
        let entry = answer.try_next().await.ok().flatten();
        (segment, entry.is_some_and(|entry| has(&entry)))
    });
    let mut several = vec![false; ways.len()];
    let mut answers = stream::iter(questions).buffer_unordered(AT_ONCE);
    while let Some((segment, has)) = answers.next().await {
        several[segment] = has;
    }
    Ok(several)
}

/// Asks for each target of these stretches; its way is put behind the others.
pub(super) async fn spread(
    of: &mut [u32],
    targets: impl IntoIterator<Item = IpAddr>,
    ways: &mut Vec<Way>,
    several: &[bool],
    source: Source,
) -> Result<(), RouteError> {
    let wanted: Vec<(usize, IpAddr)> = of
        .iter()
        .zip(targets)
        .enumerate()
        .filter(|(_, (segment, _))| several[**segment as usize])
        .map(|(place, (_, target))| (place, target))
        .collect();
    if wanted.is_empty() {
        return Ok(());
    }
    // The answers come one by one: not on the thread that has others to serve.
    let asking = tokio::task::spawn_blocking(move || ask_all(&wanted, source));
    let failed = |error: io::Error| RouteError::netlink("asking for the way to each target", error);
    let (answers, found) = asking.await.map_err(|error| failed(io::Error::other(error)))?.map_err(failed)?;
    let first = ways.len();
    ways.extend(found);
    for (place, way) in answers {
        of[place] = u32::try_from(first + way).unwrap_or(u32::MAX);
    }
    Ok(())
}

/// For each place its way, as an index into the ways that there are.
type Answers = (Vec<(usize, usize)>, Vec<Way>);

fn ask_all(wanted: &[(usize, IpAddr)], source: Source) -> io::Result<Answers> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let (mut ways, mut known) = (Vec::new(), HashMap::new());
    let mut answers = Vec::with_capacity(wanted.len());
    let (begun, mut told) = (Instant::now(), Instant::now());
    let mut buffer = Vec::new();
    for (round, some) in wanted.chunks(AT_ONCE).enumerate() {
        if told.elapsed() >= PROGRESS {
            told = Instant::now();
            tracing::info!(
                "asked the kernel for the way to {} of {} targets whose route has several next hops",
                round * AT_ONCE,
                wanted.len()
            );
        }
        buffer.clear();
        for (number, (_, target)) in some.iter().enumerate() {
            let mut header = NetlinkHeader::default();
            header.flags = NLM_F_REQUEST;
            header.sequence_number = u32::try_from(number).unwrap_or(u32::MAX);
            let message = RouteNetlinkMessage::GetRoute(question(*target, None, source.of(Family::of(*target))));
            let mut message = NetlinkMessage::new(header, message.into());
            message.finalize();
            let at = buffer.len();
            buffer.resize(at + message.buffer_len(), 0);
            message.serialize(&mut buffer[at..]);
        }
        socket.send(&buffer, 0)?;
        for _ in some {
            let (answer, _) = socket.recv_from_full()?;
            let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer).map_err(io::Error::other)?;
            let Some((place, target)) = some.get(answer.header.sequence_number as usize) else { continue };
            let way = way_of(answer.payload, source.of(Family::of(*target)))?;
            let index = *known.entry(key(&way)).or_insert_with(|| {
                ways.push(way);
                ways.len() - 1
            });
            answers.push((*place, index));
        }
    }
    tracing::debug!(targets = wanted.len(), took = ?begun.elapsed(), "asked for the way to each target");
    Ok((answers, ways))
}

/// What makes a way another one than others. Those that lead nowhere differ by their words.
fn key(way: &Way) -> (u32, Option<IpAddr>, Option<IpAddr>, String) {
    match way {
        Way::Unasked => (0, None, None, String::new()),
        Way::No(why) => (0, None, None, why.to_string()),
        Way::Through { interface, gateway, source } => (*interface, *gateway, Some(*source), String::new()),
    }
}

fn way_of(payload: NetlinkPayload<RouteNetlinkMessage>, source: Option<IpAddr>) -> io::Result<Way> {
    match payload {
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewRoute(route)) => Ok(read(&route, None, source)),
        NetlinkPayload::Error(error) => {
            let error = to_io(rtnetlink::Error::NetlinkError(error));
            refusal(&error).map(Way::No).ok_or(error)
        }
        other => Err(io::Error::other(format!("the kernel answers with {other:?}"))),
    }
}
