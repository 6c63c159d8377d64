//! Frames of protocols that this host doesn't have come by, as on every switched network: the kernel counts each among the interface's
//! dropped frames.

use crate::harness::{Site, now};
use std::{
    fs,
    os::fd::AsFd as _,
    sync::atomic::{
        AtomicBool,
        Ordering::{Acquire, Release},
    },
    thread,
    time::Duration,
};
use testbed::{FarEnd, FrameSender, Prefix, Treatment};
use xtask::lab::{Answer, End, FAR_INTERFACE, NEAR_INTERFACE};

/// To the nearest bridge, from a switch; link layer discovery: a chassis, a port, a time to live, an end (IEEE 802.1AB).
const DISCOVERY: [u8; 60] = frame(&[
    1, 0x80, 0xc2, 0, 0, 0x0e, 2, 0, 0, 0, 0, 9, 0x88, 0xcc, 2, 7, 4, 2, 0, 0, 0, 0, 9, 4, 2, 7, b'1', 6, 2, 0, 120, 0,
    0,
]);
/// To all bridges; a length, a logical link, and a root that knows of no better (IEEE 802.1D).
const SPANNING_TREE: [u8; 60] =
    frame(&[1, 0x80, 0xc2, 0, 0, 0, 2, 0, 0, 0, 0, 9, 0, 38, 0x42, 0x42, 3, 0, 0, 0, 0, 0, 0x80, 0, 2, 0, 0, 0, 0, 9]);
/// Between two such frames.
const EVERY: Duration = Duration::from_millis(100);

const fn frame(head: &[u8]) -> [u8; 60] {
    let mut frame = [0; 60];
    let mut i = 0;
    while i < head.len() {
        frame[i] = head[i];
        i += 1;
    }
    frame
}

/// Sends them from the far end until it is told to end.
fn talk(namespace: &str, is_over: &AtomicBool) {
    let space = fs::File::open(format!("/run/netns/{namespace}")).unwrap();
    rustix::thread::move_into_link_name_space(space.as_fd(), Some(rustix::thread::LinkNameSpaceType::Network)).unwrap();
    // It answers nobody: requests come to rings that nobody reads.
    let everybody = Prefix::EVERYTHING.map(|prefix| (prefix, Treatment::Userspace));
    let mut far = FarEnd::open(FAR_INTERFACE, &everybody, 1_000).unwrap();
    while !is_over.load(Acquire) {
        let frames = [DISCOVERY.as_slice(), SPANNING_TREE.as_slice()];
        far.sender.send(frames.into_iter(), &mut [false; FrameSender::BATCH]);
        thread::sleep(EVERY);
    }
}

/// What the kernel says of the near interface.
fn dropped(site: &Site) -> u64 {
    let path = format!("/sys/class/net/{NEAR_INTERFACE}/statistics/rx_dropped");
    let output = site.near("cat").arg(path).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

#[test]
#[ignore = "needs root: make test runs it"]
fn excuse_nobody() {
    let Some(site) = Site::up("strangers", &Answer::Silent) else { return };
    let namespace = site.name().namespace(End::Far);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        // Whatever fails here, that thread is told.
        let told = Told(&is_over);
        scope.spawn(|| talk(&namespace, &is_over));
        let before = dropped(&site);
        let begun = now();
        let mut echolot = site.run_silent("10.64.0.7");
        let scrape = echolot.wait_for("it is down", |scrape| scrape.targets("down") == 1);
        let took = Duration::from_nanos(now() - begun);
        // The third was sent two seconds after the first, and had one to be answered. More of them only where this machine was slow to
        // look: 20 s of a start and a wait on a busy one, no more.
        assert!(scrape.settled("lost") <= 3 + 20, "down only after {} probes", scrape.settled("lost"));
        println!("down {took:?} after the start, with {} lost", scrape.settled("lost"));
        let scrape = echolot.wait_for("twelve are lost", |scrape| scrape.settled("lost") >= 12);
        let strangers = dropped(&site) - before;
        assert!(strangers >= 100, "the kernel has counted only {strangers} of the frames that nobody wanted");
        assert_eq!(scrape.sum("echolot_local_drops_total", "direction=\"receive\""), 0);
        let ended = echolot.stop();
        assert_eq!(ended.summary.number("unheard"), 0);
        assert_eq!(ended.summary.number("lost"), ended.summary.number("probes"));
        drop(told);
    });
}

/// Says that it is over when it is dropped.
struct Told<'a>(&'a AtomicBool);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        self.0.store(true, Release);
    }
}
